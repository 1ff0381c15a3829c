"""The notebook that is executed: prepared, filled with outputs, saved."""
