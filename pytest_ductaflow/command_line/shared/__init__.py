"""What several commands need: the project, the run that is meant, words for people."""
