"""Does the version stand hostile inputs: missing, extreme, unknown and mistyped values?"""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np

from loopwright_common.events import Check
from loopwright_common.serving.spec import Column, ColumnType, ServingSpec
from loopwright_common.wording import counted
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext, verdict_of
from loopwright_deployer.staging.evaluation.sample_requests import fault_of, plain_row
from loopwright_deployer.staging.evaluation.scorer_client import ScorerResponse, Values

NAME = "hostile-inputs"
_EXTREMES: dict[ColumnType, list[Any]] = {
    "double": [1e9, -1e9],
    "float": [1e9, -1e9],
    "long": [2**31 - 1, -(2**31)],
    "integer": [2**31 - 1, -(2**31)],
    "string": ["never seen before \u2603", "", "x" * 10_000],
}


class RobustnessCheck:
    """Hostile rows are answered or refused, and nothing breaks."""

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        return await asyncio.to_thread(check_robustness, staged.candidate)


def check_robustness(candidate: StagedVersion) -> Check:
    """Odd rows are answered with finite figures or refused with a 4xx that says why."""
    answered = refused = 0
    for name, values in _hostile_rows(candidate.spec):
        response = candidate.client.infer(values)
        if response.status == httpx.codes.OK:
            fault = fault_of(response, candidate.spec)
            answered += 1
        else:
            fault = _fault_of_refusal(response)
            refused += 1
        if fault:
            return verdict_of(NAME, "failed", f"{name}: {fault}")
    sentence = f"{counted(answered, 'odd row')} answered, {refused} refused with the reason"
    return verdict_of(NAME, "passed", sentence)


def _hostile_rows(spec: ServingSpec) -> Iterator[tuple[str, Values]]:
    row = plain_row(spec)
    if spec.tensor is not None:
        yield "all zeros", {n: np.zeros_like(np.array(v)).tolist() for n, v in row.items()}
        yield "a million everywhere", {n: np.full_like(np.array(v), 10**6).tolist() for n, v in row.items()}  # fmt: skip  # noqa: E501
        yield "a row too narrow", {n: [[0.0]] for n in row}
        return
    for column in spec.columns or ():
        for case, value in _odd_values(column):
            yield f"{column.name} {case}", {**row, column.name: [value]}
    first = next(iter(row))
    yield f"without {first}", {name: column for name, column in row.items() if name != first}


def _odd_values(column: Column) -> Iterator[tuple[str, Any]]:
    yield "missing", None
    for extreme in _EXTREMES.get(column.type, []):
        yield f"= {str(extreme)[:30]!r}", extreme
    if column.type not in ("string", "datetime"):
        yield "= 'text' for a number", "text"


def _fault_of_refusal(response: ScorerResponse) -> str | None:
    if 400 <= response.status < 500 and response.error:
        return None
    return f"answered {response.status} with {response.error or 'no reason'}"
