"""What a route looks like in each state, and what a canary does next; pure decisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from loopwright_common.deploy_policy import CanaryPolicy, DeployPolicy
from loopwright_common.events import Arm, Check
from loopwright_deployer.canary.acknowledgement import Acknowledgement
from loopwright_deployer.canary.sequential_tests import (
    Counter,
    StepTally,
    judge_errors,
    judge_latency,
)
from loopwright_deployer.deployments.domain import Served

DEFAULT_LATENCY_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class Route:
    """A model's arms; live weights add up to 1, or there is no arm at all."""

    revision: int
    arms: tuple[Arm, ...] = ()
    kept: tuple[Arm, ...] = ()

    @property
    def versions(self) -> frozenset[int]:
        return frozenset(arm.version for arm in self.arms)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a canary does next, and why."""

    action: Literal["wait", "advance", "promote", "roll-back", "pause"]
    why: str
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All a decision looks at: the steps so far, the champion's calls, the replicas."""

    steps: Sequence[StepTally]
    warm_up: Counter = field(default_factory=Counter)
    acknowledgement: Acknowledgement
    deadline: datetime | None
    now: datetime


def sole(served: Served) -> tuple[Arm, ...]:
    """All traffic to one version."""
    return (_arm(served, 1.0),)


def split(champion: Served, canary: Served, weight: float) -> tuple[Arm, ...]:
    """`weight` of the traffic to the canary, the rest to the champion."""
    if weight >= 1:
        return sole(canary)
    return _arm(champion, 1 - weight), _arm(canary, weight)


def kept(
    former: Sequence[Served], arms: Sequence[Arm], most: int, named: Sequence[Served] = ()
) -> tuple[Arm, ...]:
    """What is loaded without live traffic: former champions, newest first, and what has a name."""
    routed = {arm.version for arm in arms}
    unique = {one.version: one for one in former if one.version not in routed}
    loaded = dict(list(unique.items())[:most])
    loaded |= {one.version: one for one in named if one.version not in routed}
    return tuple(_arm(one, 0.0) for one in loaded.values())


def decide(policy: DeployPolicy, step: int, evidence: Evidence) -> Decision:
    """The next move of a canary in `step` (from 0)."""
    current = evidence.steps[-1]
    if trip := current.canary.tripped or evidence.acknowledgement.tripped:
        return Decision("roll-back", f"a replica stopped sending to it: {trip}")
    if problem := evidence.acknowledgement.problem:
        return Decision("roll-back", problem)
    checks = _judged(policy, evidence)
    for check in checks:
        if check.verdict == "failed":
            return Decision("roll-back", check.sentence, checks)
    if not evidence.acknowledgement.complete:
        return _wait(evidence, evidence.acknowledgement.why, checks)
    return _next_step(policy.canary, step, evidence, checks)


def latency_ratio(policy: DeployPolicy) -> float:
    """`1.2x champion` as 1.2; a limit in seconds says nothing about the champion: the default."""
    text = policy.staging.latency_p99.at_most
    return float(text.split("x")[0]) if "champion" in text else DEFAULT_LATENCY_RATIO


def _judged(policy: DeployPolicy, evidence: Evidence) -> tuple[Check, ...]:
    return (
        judge_errors(evidence.steps, policy.canary.error_ratio),
        judge_latency(evidence.steps, evidence.warm_up, latency_ratio(policy)),
    )


def _next_step(
    canary: CanaryPolicy, step: int, evidence: Evidence, checks: tuple[Check, ...]
) -> Decision:
    wanted, answered = canary.steps[step].min_requests, evidence.steps[-1].canary.calls
    if answered < wanted:
        return _wait(evidence, f"only {answered} of {wanted} requests", checks)
    share = f"{canary.steps[step].weight:.0%}"
    if step + 1 < len(canary.steps):
        return Decision("advance", f"{answered} requests answered at {share}", checks)
    return Decision("promote", f"{answered} requests answered at {share}", checks)


def _wait(evidence: Evidence, why: str, checks: tuple[Check, ...]) -> Decision:
    if evidence.deadline is not None and evidence.now >= evidence.deadline:
        return Decision("pause", f"inconclusive: {why}", checks)
    return Decision("wait", why, checks)


def _arm(served: Served, weight: float) -> Arm:
    return Arm(
        version=served.version,
        weight=weight,
        role="live",
        digest=served.digest,
        format=served.format,
    )
