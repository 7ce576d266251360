"""MLflow's REST API, an endpoint module per resource.

Its operations and fields are those of https://mlflow.org/docs/latest/api_reference/rest-api.html;
what goes wrong is answered in MLflow's words by `app`.
"""
