"""Serving files of the formats that need no conversion."""
