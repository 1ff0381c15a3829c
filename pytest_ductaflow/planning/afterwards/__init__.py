"""Execute what a conductor does after its instances have ended."""
