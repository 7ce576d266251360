"""The event bus in one SQLite file, for the embedded system."""
