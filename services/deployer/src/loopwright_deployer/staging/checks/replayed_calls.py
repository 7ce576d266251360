"""Recorded calls, asked again of two versions."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import httpx

from loopwright_deployer.staging.checks.base import StagedVersion
from loopwright_deployer.staging.evaluation.recorded_calls import RecordedCall
from loopwright_deployer.staging.evaluation.sample_requests import fault_of
from loopwright_deployer.staging.evaluation.scorer_client import Values

_TOGETHER = 20
_ROWS_TOGETHER = 200


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

    def count(
        self, call: RecordedCall, fault: str | None, other_fault: str | None, *, refused: bool
    ) -> None:
        """Take a call that the candidate, the champion or both do not answer, by their faults."""
        if other_fault:
            self.unanswered += fault is not None
            self.only_candidate += fault is None
        elif fault:
            (self.refused if refused else self.failed).append((call, fault))

    @property
    def counted(self) -> int:
        """Calls that at least one version answers: what neither does is the caller's fault."""
        return len(self.both) + self.hits + self.only_candidate


def replay_calls(
    calls: Sequence[RecordedCall], candidate: StagedVersion, champion: StagedVersion, seconds: float
) -> Replay:
    """Ask both versions each call, the newest first, for so many seconds.

    Calls are asked together, which takes a tenth of the time, and each by itself where one of them
    is not answered. ChampionGoneError where the champion's scorer breaks, `httpx.HTTPError` where
    the candidate's does.
    """
    replay, end = Replay(), time.monotonic() + seconds
    fit: list[RecordedCall] = []
    for call in calls:
        if why := _unfit(call, champion) or _unfit(call, candidate):
            replay.not_asked[why] += 1
        else:
            fit.append(call)
    for group in _groups(fit):
        if not (len(group) > 1 and _ask(group, candidate, champion, replay, end)):
            for call in group:
                _ask([call], candidate, champion, replay, end)
    return replay


def _groups(calls: Sequence[RecordedCall]) -> Iterator[list[RecordedCall]]:
    """Calls that may be asked together, in their order."""
    for _, alike in groupby(calls, key=lambda call: sorted(call.inputs)):
        group: list[RecordedCall] = []
        for call in alike:
            rows = sum(each.rows for each in group)
            if group and (len(group) == _TOGETHER or rows + call.rows > _ROWS_TOGETHER):
                yield group
                group = []
            group.append(call)
        yield group


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


def _ask(
    calls: Sequence[RecordedCall],
    candidate: StagedVersion,
    champion: StagedVersion,
    replay: Replay,
    end: float,
) -> bool:
    """Ask as one call; False where several are not answered by both, which counts for nothing."""
    if time.monotonic() > end:
        replay.not_asked["the time was over"] += len(calls)
        return True
    try:
        theirs = champion.client.infer(_inputs(calls, champion))
    except httpx.HTTPError as error:
        raise ChampionGoneError(f"{type(error).__name__}: {error}") from error
    answer = candidate.client.infer(_inputs(calls, candidate))
    fault, other_fault = fault_of(answer, candidate.spec), fault_of(theirs, champion.spec)
    if not (fault or other_fault):
        replay.both.extend(calls)
        for kept, outputs in ((replay.own, answer.outputs), (replay.other, theirs.outputs)):
            for name, rows in outputs.items():
                kept.setdefault(name, []).extend(rows)
        return True
    if len(calls) == 1:
        replay.count(calls[0], fault, other_fault, refused=400 <= answer.status < 500)
    return len(calls) == 1


def _inputs(calls: Sequence[RecordedCall], version: StagedVersion) -> Values:
    """The inputs that the version has, as a caller who means well would send them to it."""
    known = version.client.metadata.inputs
    return {
        name: [_of_datatype(each, known[name][0]) for call in calls for each in call.inputs[name]]
        for name in calls[0].inputs
        if name in known
    }


def _of_datatype(value: Any, datatype: str) -> Any:
    """A number without a fraction as a whole one where the version takes those."""
    if isinstance(value, list):
        return [_of_datatype(each, datatype) for each in value]
    whole = isinstance(value, float) and value.is_integer() and "INT" in datatype
    return int(value) if whole else value
