"""What the demo tells in the end: events, periods of champions, tables, and a verdict."""
