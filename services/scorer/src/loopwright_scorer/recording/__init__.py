"""Inference records: rows of calls, from the answer to the bus."""
