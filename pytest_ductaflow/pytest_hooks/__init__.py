"""The side of pytest: items, their order and outcomes, what is reported to the terminal."""
