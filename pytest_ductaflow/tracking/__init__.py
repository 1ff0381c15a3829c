"""Find what an instance used, and whether it is up to date."""
