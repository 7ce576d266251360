"""What starts a run: commits that polling finds, and the queue."""
