"""Stored instances: `store_run` makes them of runs, `judge` compares replays, `approve` updates them."""
