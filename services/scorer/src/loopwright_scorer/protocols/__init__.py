"""The protocols that clients speak, in front of one core."""
