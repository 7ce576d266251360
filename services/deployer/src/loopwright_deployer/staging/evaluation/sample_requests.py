"""Rows to send to a staging scorer, and what can be wrong with its response."""

from typing import Any

import httpx
import numpy as np

from loopwright_common.serving.spec import ColumnType, ServingSpec
from loopwright_deployer.staging.evaluation.scorer_client import ScorerResponse, Values

_PLAIN: dict[ColumnType, Any] = {"string": "", "boolean": False, "datetime": "2026-01-01T00:00:00"}


def plain_row(spec: ServingSpec) -> Values:
    """One ordinary row: the example's first, else zeros and empty texts."""
    if spec.example:
        return inputs_of(spec, {name: column[:1] for name, column in spec.example.items()})
    if spec.tensor is not None:
        shape = [max(size, 1) for size in spec.tensor.shape]
        return {spec.tensor.name: np.zeros((1, *shape)).tolist()}
    return {column.name: [_PLAIN.get(column.type, 0)] for column in spec.columns or ()}


def inputs_of(spec: ServingSpec, example: Values) -> Values:
    """The example without columns that the signature does not name."""
    if spec.columns is None:
        return example
    return {column.name: example[column.name] for column in spec.columns}


def fault_of(response: ScorerResponse, spec: ServingSpec) -> str | None:
    """What is wrong with a response that should hold finite figures, or None."""
    if response.status != httpx.codes.OK:
        return f"answered {response.status}: {response.error}"
    name = "probabilities" if spec.task == "classifier" else "prediction"
    if name == "probabilities" and name not in response.outputs:
        return None  # labels only
    figures = response.numbers(name)
    if not np.isfinite(figures).all():
        return f"{name} holds what is no number"
    if name == "probabilities" and not np.allclose(figures.sum(axis=-1), 1.0, atol=1e-3):
        return "probabilities of a row do not add up to 1"
    return None
