"""See every file that a process and its children open, with seccomp user notification of the Linux kernel.

    observer (this package, `python -I -S observer CONFIG`)
      └─ the command that it starts: the server of forked kernels, or one ordinary kernel
           └─ kernels, and all that their flows start

A kernel installs a filter (`seccomp`) that makes the system ask the observer before each call that opens or
looks at a file. The observer notes the path (`notes`) and lets the call go on. It is the parent of what it
observes: some systems let only a parent read the memory of a process, and when it dies its children do.

Runs in processes of its own and in the server of kernels; of the rest of this project it imports nothing but
`file_state`.
"""
