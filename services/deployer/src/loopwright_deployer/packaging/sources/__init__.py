"""What a registered version holds: MLmodel, the model as its library opens it, rows to try."""
