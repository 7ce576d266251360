"""Inference records: rows of calls on their way from the answer to the bus.

`recorder` takes them and leads; everything else is one step of the way.
"""
