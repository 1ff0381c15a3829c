"""What a conductor may do while it is only collected: no results are read, no files lost."""
