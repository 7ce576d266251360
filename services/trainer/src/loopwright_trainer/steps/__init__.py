"""Steps: keys, workspaces, outputs and the subprocesses that turn one into the other."""
