"""Distribute instances and ordinary tests to the workers of pytest-xdist."""
