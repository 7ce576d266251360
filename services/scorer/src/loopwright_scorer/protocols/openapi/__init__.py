"""A model's own OpenAPI document and page."""
