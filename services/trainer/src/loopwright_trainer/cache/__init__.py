"""The kept results of steps, explained and cleared."""
