"""Stored instances: `storing` makes them of runs, `baseline` compares replays, `approval` updates them."""
