"""What can be asked of all records of a run at once, or of two runs."""
