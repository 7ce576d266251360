"""How good the package is on rows later than all it learnt from."""

import json
from pathlib import Path

import numpy as np
from pyarrow import parquet
from skops.io import load


def measures(yes: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Log loss, Brier score and yes-rates; `predicted` the probability of yes."""
    kept = np.clip(predicted, 1e-15, 1 - 1e-15)
    return {
        "log_loss": float(-np.mean(np.where(yes, np.log(kept), np.log(1 - kept)))),
        "brier": float(np.mean((predicted - yes) ** 2)),
        "expected_yes_rate": float(predicted.mean()),
        "actual_yes_rate": float(yes.mean()),
        "rows": len(yes),
    }


def main() -> None:
    rows = parquet.read_table("work/holdout.parquet").to_pandas()
    fitted = load("work/package/model.skops", trusted=["numpy.dtype"])
    predicted = fitted.predict_proba(rows.drop(columns=["y", "time"]))[:, -1]
    metrics = measures((rows["y"] == "yes").to_numpy(), predicted)
    Path("work/metrics.json").write_text(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
