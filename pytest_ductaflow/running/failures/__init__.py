"""What stopped a flow: found in its notebook, its kernel and its output, and told in words."""
