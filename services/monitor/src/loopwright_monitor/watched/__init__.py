"""What is watched: models, versions, streams, and when a retraining is asked for."""
