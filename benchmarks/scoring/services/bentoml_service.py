"""BentoML: a service for rows of numbers and one for rows of mixed columns.

MODEL=FILE bentoml serve bentoml_service:Numbers
"""

import os

import bentoml  # type: ignore[import-not-found]
import joblib
import numpy as np
import pandas as pd


@bentoml.service(workers=1)
class Numbers:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(rows)  # type: ignore[no-any-return]


@bentoml.service(workers=1)
class Columns:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        return self.model.predict_proba(rows)  # type: ignore[no-any-return]
