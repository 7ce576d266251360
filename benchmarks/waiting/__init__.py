"""What deployments that wait cost the deployer, and how soon it acts on one of them."""
