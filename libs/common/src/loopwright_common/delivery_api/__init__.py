"""HTTP APIs of delivery: dead letters, and where each consumer stands."""
