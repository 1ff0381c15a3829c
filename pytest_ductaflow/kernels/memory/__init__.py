"""The memory of a kernel and of all that it has started."""
