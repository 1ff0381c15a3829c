"""Data classes of the domain, settings, and the files of a run directory."""
