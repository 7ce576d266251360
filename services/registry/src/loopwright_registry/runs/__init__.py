"""Runs and what is logged to them: metrics, parameters, tags, inputs, outputs."""
