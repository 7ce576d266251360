"""What the commands about deployments show: plans of a file, looks at a canary, a journey."""
