"""Logged models: MLflow 3's packages in the making, before a version is registered."""
