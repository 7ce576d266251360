"""MLflow's REST API, an endpoint module per resource."""
