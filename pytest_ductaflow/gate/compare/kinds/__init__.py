"""Compare files of each kind, with one module per kind."""
