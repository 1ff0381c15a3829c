"""Sessions shown by other programs while they run."""
