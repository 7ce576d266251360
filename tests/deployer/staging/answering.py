"""Versions whose scorer answers what a test says, for checks that compare answers."""

from typing import Any

import numpy as np

from loopwright_common.serving.spec import ServingSpec, Tensor
from loopwright_deployer.staging.checks.base import StagedVersion
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient, ScorerMetadata
from tests.deployer.builders import MODEL, registered

SPEC = ServingSpec(
    format="onnx",
    file="model.onnx",
    task="classifier",
    tensor=Tensor(name="x", dtype="float32", shape=[2]),
    source_digest="sha256:" + "1" * 64,
)


class Answering(ScorerClient):
    """A scorer that answers the rows it is asked with the first ones of `answers`."""

    def __init__(self, **answers: Any) -> None:
        super().__init__("http://127.0.0.1:9", MODEL)
        self._answers = {name: np.asarray(rows) for name, rows in answers.items()}
        outputs = {name: ("FP64", [-1]) for name in answers}
        self.metadata = ScorerMetadata({}, outputs, None)

    def score(self, values: dict[str, list[Any]], batch: int = 500) -> dict[str, Any]:  # noqa: ARG002
        count = len(next(iter(values.values())))
        return {name: rows[:count] for name, rows in self._answers.items()}


def version(number: int, client: ScorerClient, spec: ServingSpec, **digests: str) -> StagedVersion:
    """With datasets of these digests by role, all trained until 2026."""
    datasets = [
        {"role": role, "digest": f"sha256:{digest}", "location": "x", "rows": 9, "until": until}
        for role, digest in digests.items()
        for until in ["2026-01-01T00:00:00Z" if role == "training" else None]
    ]
    return StagedVersion(client, registered(number, datasets=datasets), spec)


def regressor(number: int, predictions: Any) -> StagedVersion:
    spec = SPEC.model_copy(update={"task": "regressor"})
    return version(number, Answering(prediction=predictions), spec, training="a", holdout="h")


def classifier(number: int, chances: Any) -> StagedVersion:
    """Of the classes 0 and 1; `chances` are those of 1."""
    chance = np.asarray(chances, dtype=np.float64)
    probabilities = np.stack([1 - chance, chance], axis=1)
    client = Answering(label=(chance > 0.5).astype(int), probabilities=probabilities)
    spec = SPEC.model_copy(update={"classes": [0, 1]})
    return version(number, client, spec, training="a", holdout="h")


def labeller(number: int, labels: Any) -> StagedVersion:
    """A classifier that answers labels only."""
    spec = SPEC.model_copy(update={"classes": [0, 1]})
    return version(number, Answering(label=labels), spec, training="a", holdout="h")


def held_out(truth: Any) -> Holdout:
    labels = np.asarray(truth).tolist()
    return Holdout({"x": [[0.0, 0.0]] * len(labels), "y": labels}, "y", len(labels))
