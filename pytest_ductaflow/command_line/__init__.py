"""The command `ductaflow`: look at runs, run, debug and remove them, outside of a session of pytest."""
