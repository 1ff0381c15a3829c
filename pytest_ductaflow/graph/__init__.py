"""Dependencies among instances, their order, and what blocks them."""
