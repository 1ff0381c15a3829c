"""Stored instances: made from runs by `store_run`, compared by `judge`, updated by `update_expected`."""
