"""From sources to the plan of a session: conductors are executed, their calls become instances."""
