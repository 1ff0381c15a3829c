"""Run one instance, from its config to its record, notebook, log and page."""
