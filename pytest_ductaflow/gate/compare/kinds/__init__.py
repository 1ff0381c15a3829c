"""How files of each kind are compared, one module for each."""
