"""Pipeline as code: `loopwright.yaml` and `dvc.yaml` into a `Pipeline`."""
