"""Versions in memory: loaded, verified, warmed, evicted."""
