"""Artifacts by digest, packages and captured datasets in a directory or an S3-compatible store."""
