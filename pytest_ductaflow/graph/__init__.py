"""What waits for what: dependencies among instances, their order, and what blocks them."""
