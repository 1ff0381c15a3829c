"""What the terminal shows while a session runs, and of many failures at its end."""
