"""LitServe: one API process and one worker.

MODEL=FILE python litserve_service.py PORT [--fast-queue]
"""

import os
import sys
from typing import Any

import joblib
import litserve  # type: ignore[import-not-found]
import numpy as np
import pandas as pd


class Scorer(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.model = joblib.load(os.environ["MODEL"])

    def decode_request(self, request: dict[str, Any]) -> Any:
        rows = request["rows"]
        return pd.DataFrame(rows) if isinstance(rows, dict) else np.array(rows)

    def predict(self, rows: Any) -> Any:
        return self.model.predict_proba(rows)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Scorer(),
        accelerator="cpu",
        workers_per_device=1,
        fast_queue="--fast-queue" in sys.argv,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
