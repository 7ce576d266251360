"""The monitor's tables, locks and exclusive jobs."""
