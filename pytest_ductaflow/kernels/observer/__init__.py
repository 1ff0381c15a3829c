"""Observe every file that a process and its children open, by seccomp user notification of Linux.

    observer (this package, `python -I -S observer CONFIG`)
      └─ the command that it starts: the server of forked kernels, or one ordinary kernel
           └─ kernels, and all that their flows start

A kernel installs a filter (`seccomp`) that makes the system notify the observer before each call that opens
or examines a file. The observer records the path (`access_log`) and lets the call proceed. It is the parent
of what it observes: some systems let only a parent read a process's memory, and its children end with it.

Runs in processes of its own and in the fork server; of the rest of this project it imports only `file_state`.
"""
