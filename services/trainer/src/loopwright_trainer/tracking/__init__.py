"""The registry as the trainer uses it: runs, artifacts and versions over MLflow's REST API."""
