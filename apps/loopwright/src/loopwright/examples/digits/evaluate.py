"""How many of the later images the package reads right."""

import json
from pathlib import Path

import yaml
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from skops.io import load


def main() -> None:
    first = yaml.safe_load(Path("params.yaml").read_text())["train"]["images"]
    images, digits = load_digits(return_X_y=True)
    images, digits = images[first:], digits[first:]
    fitted = load("work/package/model.skops", trusted=["numpy.dtype"])
    metrics = {
        "accuracy": fitted.score(images, digits),
        "log_loss": log_loss(digits, fitted.predict_proba(images)),
        "rows": len(images),
    }
    Path("work/metrics.json").write_text(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
