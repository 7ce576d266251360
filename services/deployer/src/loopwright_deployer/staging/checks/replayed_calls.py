"""Recorded calls, asked again of two versions."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from loopwright_deployer.staging.checks.base import StagedVersion
from loopwright_deployer.staging.checks.sample_requests import fault_of
from loopwright_deployer.staging.evaluation.recorded_calls import RecordedCall
from loopwright_deployer.staging.evaluation.scorer_client import Values


class ChampionGoneError(Exception):
    """The champion's scorer does not answer any more, which says nothing of the candidate."""


@dataclass(slots=True)
class Replay:
    """What became of the recorded calls that both versions were asked.

    `refused` and `failed` are those that the champion alone answers, by call and what the candidate
    said; `unanswered` that neither does.
    """

    refused: list[tuple[RecordedCall, str]] = field(default_factory=list)
    failed: list[tuple[RecordedCall, str]] = field(default_factory=list)
    only_candidate: int = 0
    unanswered: int = 0
    both: list[RecordedCall] = field(default_factory=list)
    own: dict[str, list[Any]] = field(default_factory=dict)
    other: dict[str, list[Any]] = field(default_factory=dict)
    """The answers to `both`, row after row."""
    not_asked: Counter[str] = field(default_factory=Counter)
    """How many calls were not asked, by why not."""

    @property
    def hits(self) -> int:
        return len(self.refused) + len(self.failed)

    @property
    def counted(self) -> int:
        """Calls that at least one version answers: what neither does is the caller's fault."""
        return len(self.both) + self.hits + self.only_candidate


def replay_calls(
    calls: Sequence[RecordedCall], candidate: StagedVersion, champion: StagedVersion, seconds: float
) -> Replay:
    """Ask both versions each call, the newest first, for so many seconds.

    ChampionGoneError where the champion's scorer breaks, `httpx.HTTPError` where the candidate's
    does.
    """
    replay, end = Replay(), time.monotonic() + seconds
    for call in calls:
        if time.monotonic() > end:
            replay.not_asked[f"not asked within {seconds:g} s"] += 1
        elif why := _unfit(call, champion) or _unfit(call, candidate):
            replay.not_asked[why] += 1
        else:
            _ask_both(call, candidate, champion, replay)
    return replay


def _unfit(call: RecordedCall, version: StagedVersion) -> str | None:
    """Why a version cannot be asked the call as it was recorded, or None."""
    number, spec = version.registered.version, version.spec
    names = [spec.tensor.name] if spec.tensor else [each.name for each in spec.columns or ()]
    if redacted := next((name for name in names if call.lacks(name)), None):
        return f"version {number} takes {redacted!r}, which is redacted and so not recorded"
    optional = {each.name for each in spec.columns or () if not each.required}
    needed = (name for name in names if name not in call.inputs and name not in optional)
    if absent := next(needed, None):
        return f"version {number} needs {absent!r}, which was no input yet and so is not recorded"
    return None


def _ask_both(
    call: RecordedCall, candidate: StagedVersion, champion: StagedVersion, replay: Replay
) -> None:
    try:
        theirs = champion.client.infer(_inputs(call, champion))
    except httpx.HTTPError as error:
        raise ChampionGoneError(f"{type(error).__name__}: {error}") from error
    answer = candidate.client.infer(_inputs(call, candidate))
    fault, other_fault = fault_of(answer, candidate.spec), fault_of(theirs, champion.spec)
    if other_fault:
        replay.unanswered += fault is not None
        replay.only_candidate += fault is None
    elif fault:
        refused = 400 <= answer.status < 500
        (replay.refused if refused else replay.failed).append((call, fault))
    else:
        replay.both.append(call)
        for kept, outputs in ((replay.own, answer.outputs), (replay.other, theirs.outputs)):
            for name, rows in outputs.items():
                kept.setdefault(name, []).extend(rows)


def _inputs(call: RecordedCall, version: StagedVersion) -> Values:
    """The inputs that the version has, as a caller who means well would send them to it."""
    known = version.client.metadata.inputs
    return {
        name: [_of_datatype(value, known[name][0]) for value in values]
        for name, values in call.inputs.items()
        if name in known
    }


def _of_datatype(value: Any, datatype: str) -> Any:
    """A number without a fraction as a whole one where the version takes those."""
    if isinstance(value, list):
        return [_of_datatype(each, datatype) for each in value]
    whole = isinstance(value, float) and value.is_integer() and "INT" in datatype
    return int(value) if whole else value
