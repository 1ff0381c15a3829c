"""Stored instances: `store_run` makes them from runs, `judge` compares replays, `approve` updates them."""
