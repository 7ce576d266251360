"""Versions of models: registration, sealing, sources, aliases."""
