"""What the demo does and sees as an outside client of the running system."""
