"""The API that conductors, builds and flows import."""
