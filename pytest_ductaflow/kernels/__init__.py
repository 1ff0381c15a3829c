"""Start kernels, forked or ordinary, and know what they do."""
