"""Jupyter kernels by fork (Linux): warm processes from which each kernel is a copy.

Standalone: run as `python -m pytest_ductaflow.kernels.forkserver`; nothing else of the package is imported.
`server` has the processes, `importing` imports what flows import, `kernel_app` is the kernel, `iopub` its
output, and `protocol` is how they speak to each other.

    server                      has imported what a kernel is made of
    └─ template (pandas)        …and what some flows import; one for each list of modules
       ├─ kernel                an ipykernel in a session of its own
       └─ kernel                a spare one, if wanted: ready, and waiting for its flow
"""
