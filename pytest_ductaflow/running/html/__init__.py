"""Executed notebooks as HTML pages, written by a process of their own where a core is idle."""
