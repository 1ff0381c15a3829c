"""The earlier good runs of instances, which are kept and can be restored."""
