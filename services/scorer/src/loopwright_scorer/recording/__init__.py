"""Inference records: rows of calls on their way from the answer to the bus.

`record_buffer` takes them, `recorder` leads; everything else is one step of the way.
"""
