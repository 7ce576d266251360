"""What people may do to deployments; what is impossible is a ConflictError that says why."""
