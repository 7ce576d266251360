"""The record policy of a route: whose calls are recorded, and what of them is redacted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loopwright_common.deploy_policy import RecordPolicy
from loopwright_scorer.tensors.tensors import TensorType

WHOLE = RecordPolicy()


@dataclass(frozen=True, slots=True, eq=False)
class RecordedArm:
    """An arm whose calls are recorded: what its records have in common under one revision."""

    model_id: str
    model: str
    version: int
    arm: Literal["live", "shadow"]
    inputs: Sequence[TensorType]
    outputs: Sequence[TensorType]
    policy: RecordPolicy = WHOLE


def redacted_error(policy: RecordPolicy, error: str) -> str:
    """The error as it may be told outside: a text may quote an input."""
    if not policy.redact:
        return error
    kind = error.partition(":")[0].strip()
    named = kind if kind.isidentifier() else "the version failed"
    return f"{named} (its text is left out, as inputs are redacted)"
