"""Engines: what carries instances out in other processes, on this machine or on others."""
