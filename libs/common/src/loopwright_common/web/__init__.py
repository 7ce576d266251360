"""What every HTTP API shares: problem+json, health, request metrics."""
