"""Debug a flow in its kernel, at the terminal of the session that runs it."""
