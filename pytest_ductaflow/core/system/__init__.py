"""What the operating system knows: processes, signals, cores, file states, locks, and its own folders."""
