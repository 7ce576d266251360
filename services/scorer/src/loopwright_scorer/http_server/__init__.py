"""The port of the inference protocols: parsing, limits, the fast path."""
