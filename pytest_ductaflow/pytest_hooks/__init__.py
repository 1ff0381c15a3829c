"""Connect to pytest: items, their order and outcomes, and reports to the terminal."""
