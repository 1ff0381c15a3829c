"""Jupyter kernels by fork (Linux): warm processes from which each kernel is a copy.

Standalone: run as `python -m pytest_ductaflow.forkserver`, and nothing else of the package is imported.
`serving` has the processes, `preloading` imports what flows import, `forked_kernel` is the kernel,
`publishing` its output.

    server                      has imported what a kernel is made of
    └─ template (pandas)        …and what some flows import; one for each list of modules
       ├─ kernel                an ipykernel in a session of its own
       └─ kernel                a spare one, if wanted: ready, and waiting for its flow
"""
