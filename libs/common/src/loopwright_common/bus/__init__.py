"""The event bus: its interface, the topics on it, and compacted topics read as tables."""
