"""A package whose estimator is of a module that nobody has here."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.deployer.builders import skops_package

PAIRS = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]
PLOUGH = """
from sklearn.base import BaseEstimator, RegressorMixin

class Plough(RegressorMixin, BaseEstimator):
    def fit(self, rows, figures):
        self.depth_ = float(figures.mean())
        return self

    def predict(self, rows):
        return rows[:, 0] * 0 + self.depth_
"""


def ploughed(directory: Path, *requirements: str) -> Path:
    """As skops, made with a module that nobody has here."""
    library = directory.parent / "library"
    library.mkdir()
    (library / "plough.py").write_text(PLOUGH)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(library))
        plough = importlib.import_module("plough")
        estimator = plough.Plough().fit(np.zeros((2, 2)), np.array([1.0, 3.0]))
        source = skops_package(directory, estimator, PAIRS)
    del sys.modules["plough"]
    (source / "requirements.txt").write_text("\n".join(requirements))
    return source
