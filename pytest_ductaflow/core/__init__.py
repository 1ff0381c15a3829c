"""Words of the domain as values, settings, and the files of a run directory."""
