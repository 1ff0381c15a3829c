"""Dask as an engine: a local cluster, or one that is there already."""
