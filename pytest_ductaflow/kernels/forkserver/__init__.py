"""Fork Jupyter kernels (Linux): each is a copy of a warm process.

Standalone: run as `python -m pytest_ductaflow.kernels.forkserver`; of the package it imports only `observer`.
`server` and `template` are the processes, `importing` imports what flows import, `kernel_app` is the kernel,
`iopub` its output, and `protocol` the communication between them.

    server                      has imported what a kernel needs
    └─ template (pandas)        …and what some flows import; one for each list of modules
       ├─ kernel                an ipykernel in a session of its own
       └─ kernel                a spare one, if wanted: ready, and waiting for its flow
"""
