"""The figures of instances: which there are, which can be shown, and small copies of them."""
