"""Files and folders in `runs/`: their names, how they are written and read, what is there."""
