"""Read what users write (notebooks, Python code, control tables) and the versions of installed packages."""
