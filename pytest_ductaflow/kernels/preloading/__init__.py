"""Choose what is imported before a kernel is forked: what its flow imports, where that is safe."""
