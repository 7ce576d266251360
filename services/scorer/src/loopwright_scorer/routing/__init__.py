"""Which version answers a call, and what the deployer is told of it."""
