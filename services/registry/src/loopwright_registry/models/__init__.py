"""Registered models with their aliases, and the tables and types of their versions."""
