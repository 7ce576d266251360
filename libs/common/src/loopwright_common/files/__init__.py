"""Files that are ours alone, and files that somebody else has written."""
