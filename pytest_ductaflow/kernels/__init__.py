"""Start kernels, forked or ordinary, and observe what they do."""
