"""What conductors, builds and flows import."""
