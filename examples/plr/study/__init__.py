"""What several flows of the study need: its runs, its measures, its checkpoint."""
