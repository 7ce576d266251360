"""Deployments: their states, rows, use cases and owners."""
