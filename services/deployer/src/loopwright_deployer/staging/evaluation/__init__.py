"""What the checks measure with: a client of the staging scorer, holdout rows, paired losses."""
