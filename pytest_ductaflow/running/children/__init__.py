"""Run instances in a child of a warm process, which has imported already what that takes."""
