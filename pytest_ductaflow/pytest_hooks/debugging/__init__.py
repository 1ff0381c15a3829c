"""Failed flows that are debugged in their kernel, and kernels that are kept for a console."""
