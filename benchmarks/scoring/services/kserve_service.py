"""KServe's scikit-learn server: its package is on no index, so its model's few lines are here.

MODEL=FILE python kserve_service.py --model_name NAME --http_port PORT [...]
"""

import os
from typing import Any

import joblib
import kserve  # type: ignore[import-not-found]
from kserve.utils.utils import (  # type: ignore[import-not-found]
    get_predict_input,
    get_predict_response,
)


class Scorer(kserve.Model):  # type: ignore[misc]
    def load(self) -> bool:
        self._model = joblib.load(os.environ["MODEL"])
        self.ready = True
        return True

    def predict(self, payload: Any, _headers: Any = None, _response_headers: Any = None) -> Any:
        rows = get_predict_input(payload)
        return get_predict_response(payload, self._model.predict_proba(rows), self.name)


if __name__ == "__main__":
    arguments = kserve.model_server.parser.parse_args()
    scorer = Scorer(arguments.model_name)
    scorer.load()
    kserve.ModelServer(workers=1, enable_grpc=False).start([scorer])
