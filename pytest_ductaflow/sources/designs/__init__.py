"""Designs: functions that make control tables, and what can be done with these tables."""
