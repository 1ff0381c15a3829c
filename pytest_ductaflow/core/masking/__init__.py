"""Secrets: which values they are, configs without them, and texts in which they are masked."""
