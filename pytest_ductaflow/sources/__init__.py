"""What users write, read: notebooks, Python code, control tables; versions of what is installed."""
