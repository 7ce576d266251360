"""Looks at a canary: its evidence and what was decided by it, written so that both come back equal.

Nothing is rounded: what is read again is decided again to the same bits.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from loopwright_common import clock
from loopwright_common.deploy_policy import DeployPolicy
from loopwright_common.errors import InvalidError
from loopwright_deployer.canary.acknowledgement import Acknowledgement
from loopwright_deployer.canary.call_counts import BoundCalls, CallCounter, StepCounts
from loopwright_deployer.canary.decisions import CanaryDecision, CanaryEvidence, decide_canary

SHORTEST_GAP = timedelta(seconds=1)
LOOKS_AT_ONE_GAP = 256
MOST_LOOKS = 4096
"""Of one deployment, beside those that moved it."""
TAKES_TRAFFIC = frozenset({"roll-back", "freeze"})
"""What is done to a canary also while it is paused."""


@dataclass(frozen=True, slots=True)
class CanaryLook:
    """What was decided of a canary in `step` (from 0), and by what; `paused` while nobody asked."""

    step: int
    paused: bool
    evidence: CanaryEvidence
    decision: CanaryDecision

    @property
    def moves(self) -> bool:
        """Whether the deployment moved by it; a paused one only moves by its faults."""
        action = self.decision.action
        return action in TAKES_TRAFFIC if self.paused else action != "wait"

    def says_more_than(self, other: "CanaryLook") -> bool:
        """Whether anything but the time has changed."""
        return self != replace(other, evidence=replace(other.evidence, now=self.evidence.now))


@dataclass(frozen=True, slots=True)
class KeptLook:
    """A look as it is kept, numbered from 0 within its deployment."""

    number: int
    look: CanaryLook


def number_of(look: CanaryLook, kept: Sequence[KeptLook]) -> int | None:
    """The place of a look behind the `kept` ones, of which the last two are enough; or None.

    It takes the newest one's place where that is not yet as far from the one before as two looks
    have to be, and none where it says nothing new or comes within a second. So the newest look is
    there always, and all are a second apart at first, twice as far with each 256 of them.
    """
    if not kept:
        return 0
    newest = kept[-1]
    if look.moves:
        return newest.number + 1
    if not look.says_more_than(newest.look) or _gap(newest.look, look) < SHORTEST_GAP:
        return None
    if newest.look.moves:
        return newest.number + 1
    full = newest.number + 1 >= MOST_LOOKS
    far = len(kept) == 1 or _gap(kept[-2].look, newest.look) >= _least_gap(newest.number)
    return newest.number + 1 if far and not full else newest.number


def judge_again(look: CanaryLook, by: DeployPolicy, live: DeployPolicy) -> CanaryDecision:
    """What `by` would have decided at a look that was decided by the policy `live`.

    Its deadline is as much earlier or later as its canary's `max_time` is shorter or longer. The
    traffic was divided by `live`. InvalidError where it has fewer steps than the canary has taken.
    """
    taken, steps = look.step + 1, len(by.canary.steps)
    if taken > steps:
        raise InvalidError(
            f"canary.steps: {steps} are fewer than the {taken} that the canary has taken; "
            "a policy to try needs as many, since the evidence was counted in these"
        )
    longer = by.canary.max_time - live.canary.max_time
    evidence = replace(look.evidence, deadline=_moved(look.evidence.deadline, longer))
    return decide_canary(by, look.step, evidence)


def write_evidence(evidence: CanaryEvidence) -> str:
    """JSON with sorted keys and without spaces: equal evidence is the same text."""
    return json.dumps(evidence_fields(evidence), sort_keys=True, separators=(",", ":"))


def evidence_fields(evidence: CanaryEvidence) -> dict[str, Any]:
    """The evidence in values of JSON, times as RFC 3339 in UTC with microseconds."""
    return {
        "steps": [
            {arm.name: _counter_fields(getattr(step, arm.name)) for arm in fields(step)}
            for step in evidence.steps
        ],
        "acknowledgement": _fields(evidence.acknowledgement),
        "deadline": clock.to_text(evidence.deadline) if evidence.deadline else None,
        "now": clock.to_text(evidence.now),
        "skips_windows": evidence.skips_windows,
    }


def read_evidence(text: str) -> CanaryEvidence:
    """The evidence that `write_evidence` wrote; KeyError or TypeError for other JSON."""
    stored = json.loads(text)
    return CanaryEvidence(
        steps=[_step(step) for step in stored["steps"]],
        acknowledgement=Acknowledgement(**stored["acknowledgement"]),
        deadline=clock.from_text(stored["deadline"]) if stored["deadline"] else None,
        now=clock.from_text(stored["now"]),
        skips_windows=stored["skips_windows"],
    )


def _counter_fields(counter: CallCounter) -> dict[str, Any]:
    return {**_fields(counter), "bound": _fields(counter.bound)}


def _fields(flat: CallCounter | BoundCalls | Acknowledgement) -> dict[str, Any]:
    """As `asdict`, of one without others in it, which need no copies."""
    return {field.name: getattr(flat, field.name) for field in fields(flat)}


def _step(stored: Mapping[str, Mapping[str, Any]]) -> StepCounts:
    return StepCounts(**{arm: _counter(counter) for arm, counter in stored.items()})


def _counter(stored: Mapping[str, Any]) -> CallCounter:
    edges, counts = tuple(stored["latency_edges"]), tuple(stored["latency_counts"])
    bound = stored["bound"]
    known = BoundCalls(tuple(bound["counts"]), tuple(bound["shares"]), bound["replicas"])
    return CallCounter(
        **{**stored, "latency_edges": edges, "latency_counts": counts, "bound": known}
    )


def _gap(earlier: CanaryLook, later: CanaryLook) -> timedelta:
    return later.evidence.now - earlier.evidence.now


def _least_gap(number: int) -> timedelta:
    return timedelta(seconds=2 ** (number // LOOKS_AT_ONE_GAP))


def _moved(deadline: datetime | None, by: timedelta) -> datetime | None:
    if deadline is None:
        return None
    try:
        return deadline + by
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
