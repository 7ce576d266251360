"""Routes of the scorers: revisions, transitions, reconciliation."""
