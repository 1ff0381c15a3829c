"""What earlier sessions have left: records, declarations, and runs of instances that are no more."""
