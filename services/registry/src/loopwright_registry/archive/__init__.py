"""The archive of every lifecycle event, and why a version is where it is."""
