"""Events from outbox to handler: at least once on the wire, exactly once in effect."""
