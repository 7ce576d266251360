"""When an episode of drift asks for a retraining."""
