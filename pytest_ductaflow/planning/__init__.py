"""Turn sources into the plan of a session: execute conductors and record their calls as instances."""
