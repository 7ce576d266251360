"""What MLflow's API needs everywhere: JSON, filters, page tokens, SQL that both engines take."""
