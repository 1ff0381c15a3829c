"""What the rows of the report have in common: causes, inputs that matter, changes since the last session."""
