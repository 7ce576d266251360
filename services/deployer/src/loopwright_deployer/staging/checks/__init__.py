"""The checks that a candidate goes through in staging; `registry.CHECKS` lists them in order."""
