"""Loopwright: the command line and the embedded system."""
