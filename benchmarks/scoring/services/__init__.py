"""What runs in the servers' own environments: their usual few lines around a fitted estimator."""
