"""What staging asks of a candidate, over HTTP; blocking, to be run in a thread."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from loopwright_common.deploy_policy import StagingPolicy
from loopwright_common.errors import LoopwrightError
from loopwright_common.events import Check
from loopwright_common.serving.spec import Column, ColumnType, ServingSpec
from loopwright_deployer.staging.checks import holdout as holdouts
from loopwright_deployer.staging.checks.holdout import Holdout
from loopwright_deployer.staging.checks.latency import check_latency
from loopwright_deployer.staging.evaluation.scorer_client import (
    ScorerClient,
    ScorerResponse,
    Values,
)

DATATYPES: dict[ColumnType, str] = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
    "string": "BYTES",
    "datetime": "BYTES",
}
_PLAIN: dict[ColumnType, Any] = {"string": "", "boolean": False, "datetime": "2026-01-01T00:00:00"}
_EXTREMES: dict[ColumnType, list[Any]] = {
    "double": [1e9, -1e9],
    "float": [1e9, -1e9],
    "long": [2**31 - 1, -(2**31)],
    "integer": [2**31 - 1, -(2**31)],
    "string": ["never seen before \u2603", "", "x" * 10_000],
}


@dataclass(frozen=True, slots=True)
class StagedVersion:
    """A version served by a staging scorer."""

    url: str
    version: int
    spec: ServingSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """All that the checks need; `holdout` is the dataset, or the check's answer without one."""

    model: str
    candidate: StagedVersion
    champion: StagedVersion | None
    policy: StagingPolicy
    holdout: Holdout | Check


def run_checks(staged: Staged) -> tuple[Check, ...]:
    """Every check's verdict; one that breaks is itself a failed check, with the reason."""
    with ExitStack() as stack:
        try:
            candidate = stack.enter_context(ScorerClient(staged.candidate.url, staged.model))
        except (httpx.HTTPError, LookupError, ValueError) as error:
            return (_check("schema", "failed", f"the scorer does not describe it: {error}"),)
        champion = None
        if staged.champion is not None:
            champion = stack.enter_context(ScorerClient(staged.champion.url, staged.model))
        return tuple(_each(staged, candidate, champion))


def _each(
    staged: Staged, candidate: ScorerClient, champion: ScorerClient | None
) -> Iterator[Check]:
    spec = staged.candidate.spec
    yield _guarded("schema", lambda: check_schema(candidate, spec))
    yield _guarded("example", lambda: check_example(candidate, spec))
    yield _guarded("hostile-inputs", lambda: check_robustness(candidate, spec))
    yield _guarded("holdout", lambda: _holdout(staged, candidate, champion))
    yield _guarded("latency", lambda: _latency(staged, candidate, champion))
    yield _check("replay", "skipped", "recorded requests are not replayed yet")


def check_schema(scoring: ScorerClient, spec: ServingSpec) -> Check:
    """The metadata shows the signature's inputs, the task's outputs and the classes."""
    described = scoring.metadata
    if spec.columns is not None:
        wanted = {column.name: DATATYPES[column.type] for column in spec.columns}
        found = {name: datatype for name, (datatype, _) in described.inputs.items()}
        if wanted != found:
            return _check("schema", "failed", f"the signature says {wanted}, the scorer {found}")
    outputs = {"label"} if spec.task == "classifier" else {"prediction"}
    if absent := outputs - set(described.outputs):
        return _check("schema", "failed", f"outputs lack {', '.join(sorted(absent))}")
    if spec.classes is not None and described.classes != spec.classes:
        sentence = f"classes are {described.classes}, the package says {spec.classes}"
        return _check("schema", "failed", sentence)
    return _check("schema", "passed", f"{len(described.inputs)} inputs as in the signature")


def check_example(scoring: ScorerClient, spec: ServingSpec) -> Check:
    """The package's own example is answered with finite figures."""
    if spec.example is None:
        return _check("example", "skipped", "the package brings no input example")
    rows = len(next(iter(spec.example.values())))
    fault = _fault(scoring.infer(_inputs_of(spec, spec.example)), spec)
    if fault:
        return _check("example", "failed", f"the package's own example: {fault}")
    return _check("example", "passed", f"{rows} example rows answered")


def check_robustness(scoring: ScorerClient, spec: ServingSpec) -> Check:
    """Odd rows are answered with finite figures or refused with a 4xx that says why."""
    answered = refused = 0
    for name, values in _hostile_rows(spec):
        answer = scoring.infer(values)
        if answer.status == httpx.codes.OK:
            fault = _fault(answer, spec)
            answered += 1
        else:
            fault = _bad_refusal(answer)
            refused += 1
        if fault:
            return _check("hostile-inputs", "failed", f"{name}: {fault}")
    sentence = f"{answered} odd rows answered, {refused} refused with the reason"
    return _check("hostile-inputs", "passed", sentence)


def plain_row(spec: ServingSpec) -> Values:
    """One ordinary row: the example's first, else zeros and empty texts."""
    if spec.example:
        return _inputs_of(spec, {name: column[:1] for name, column in spec.example.items()})
    if spec.tensor is not None:
        shape = [max(size, 1) for size in spec.tensor.shape]
        return {spec.tensor.name: np.zeros((1, *shape)).tolist()}
    return {column.name: [_PLAIN.get(column.type, 0)] for column in spec.columns or ()}


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


def _fault(answer: ScorerResponse, spec: ServingSpec) -> str | None:
    """What is wrong with an answer, or None."""
    if answer.status != httpx.codes.OK:
        return f"answered {answer.status}: {answer.error}"
    name = "probabilities" if spec.task == "classifier" else "prediction"
    if name == "probabilities" and name not in answer.outputs:
        return None  # labels only
    figures = answer.numbers(name)
    if not np.isfinite(figures).all():
        return f"{name} holds what is no number"
    if name == "probabilities" and not np.allclose(figures.sum(axis=-1), 1.0, atol=1e-3):
        return "probabilities of a row do not add up to 1"
    return None


def _bad_refusal(answer: ScorerResponse) -> str | None:
    if 400 <= answer.status < 500 and answer.error:
        return None
    return f"answered {answer.status} with {answer.error or 'no reason'}"


def _holdout(staged: Staged, candidate: ScorerClient, champion: ScorerClient | None) -> Check:
    if isinstance(staged.holdout, Check):
        return staged.holdout
    peer = (champion, staged.champion.spec) if champion and staged.champion else None
    own = (candidate, staged.candidate.spec)
    return holdouts.check_holdout(staged.policy.holdout, staged.holdout, own, peer)


def _latency(staged: Staged, candidate: ScorerClient, champion: ScorerClient | None) -> Check:
    peer = (champion, plain_row(staged.champion.spec)) if champion and staged.champion else None
    row = plain_row(staged.candidate.spec)
    return check_latency(staged.policy.latency_p99, row, candidate, peer)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except httpx.HTTPError as error:
        return _check(name, "failed", f"the staging scorer broke: {type(error).__name__}: {error}")
    except LoopwrightError as error:
        return _check(name, "inconclusive" if name == "holdout" else "failed", str(error))
    except (LookupError, ValueError, TypeError) as error:
        return _check(name, "failed", f"not understood: {type(error).__name__}: {error}")


def _inputs_of(spec: ServingSpec, example: Values) -> Values:
    """The example without columns that the signature does not name."""
    if spec.columns is None:
        return example
    return {column.name: example[column.name] for column in spec.columns}


def _check(name: str, verdict: str, sentence: str) -> Check:
    return Check.model_validate({"name": name, "verdict": verdict, "sentence": sentence})
