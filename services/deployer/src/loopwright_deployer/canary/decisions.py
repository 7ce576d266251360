"""The arms of a route, and what a canary does next; pure decisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from loopwright_common.deploy_policy import CanaryPolicy, DeployPolicy
from loopwright_common.events import Arm, Check
from loopwright_deployer.canary.acknowledgement import Acknowledgement
from loopwright_deployer.canary.call_counts import CallCounter, StepCounts
from loopwright_deployer.canary.sequential_tests import compare_errors, compare_latency
from loopwright_deployer.deployments.domain import ServedPackage

DEFAULT_LATENCY_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class RouteRevision:
    """A model's arms; live weights add up to 1, or there is no arm at all."""

    revision: int
    arms: tuple[Arm, ...] = ()
    kept: tuple[Arm, ...] = ()

    @property
    def versions(self) -> frozenset[int]:
        return frozenset(arm.version for arm in self.arms)


@dataclass(frozen=True, slots=True)
class CanaryDecision:
    """What a canary does next, and why."""

    action: Literal["wait", "advance", "promote", "roll-back", "pause"]
    why: str
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryEvidence:
    """All a decision looks at: the steps so far, the champion's calls, the replicas."""

    steps: Sequence[StepCounts]
    warm_up: CallCounter = field(default_factory=CallCounter)
    acknowledgement: Acknowledgement
    deadline: datetime | None
    now: datetime


def all_traffic(served: ServedPackage) -> tuple[Arm, ...]:
    """All traffic to one version."""
    return (_arm(served, 1.0),)


def split_traffic(champion: ServedPackage, canary: ServedPackage, weight: float) -> tuple[Arm, ...]:
    """A share `weight` of the traffic to the canary, the rest to the champion."""
    if weight >= 1:
        return all_traffic(canary)
    return _arm(champion, 1 - weight), _arm(canary, weight)


def kept_arms(
    former: Sequence[ServedPackage],
    arms: Sequence[Arm],
    limit: int,
    named: Sequence[ServedPackage] = (),
) -> tuple[Arm, ...]:
    """What is loaded without live traffic: former champions, newest first, and what has a name.

    At most `limit` former champions are kept.
    """
    routed = {arm.version for arm in arms}
    unique = {one.version: one for one in former if one.version not in routed}
    loaded = dict(list(unique.items())[:limit])
    loaded |= {one.version: one for one in named if one.version not in routed}
    return tuple(_arm(one, 0.0) for one in loaded.values())


def decide_canary(policy: DeployPolicy, step: int, evidence: CanaryEvidence) -> CanaryDecision:
    """The next move of a canary in `step` (from 0)."""
    current = evidence.steps[-1]
    if trip := current.canary.tripped or evidence.acknowledgement.tripped:
        return CanaryDecision("roll-back", f"a replica stopped sending to it: {trip}")
    if problem := evidence.acknowledgement.problem:
        return CanaryDecision("roll-back", problem)
    checks = _run_tests(policy, evidence)
    for check in checks:
        if check.verdict == "failed":
            return CanaryDecision("roll-back", check.sentence, checks)
    if not evidence.acknowledgement.complete:
        return _wait(evidence, evidence.acknowledgement.why, checks)
    return _next_step(policy.canary, step, evidence, checks)


def latency_ratio(policy: DeployPolicy) -> float:
    """`1.2x champion` as 1.2; a limit in seconds says nothing about the champion: the default."""
    text = policy.staging.latency_p99.at_most
    return float(text.split("x")[0]) if "champion" in text else DEFAULT_LATENCY_RATIO


def _run_tests(policy: DeployPolicy, evidence: CanaryEvidence) -> tuple[Check, ...]:
    return (
        compare_errors(evidence.steps, policy.canary.error_ratio),
        compare_latency(evidence.steps, evidence.warm_up, latency_ratio(policy)),
    )


def _next_step(
    canary: CanaryPolicy, step: int, evidence: CanaryEvidence, checks: tuple[Check, ...]
) -> CanaryDecision:
    wanted, answered = canary.steps[step].min_requests, evidence.steps[-1].canary.calls
    if answered < wanted:
        return _wait(evidence, f"only {answered} of {wanted} requests", checks)
    share = f"{canary.steps[step].weight:.0%}"
    if step + 1 < len(canary.steps):
        return CanaryDecision("advance", f"{answered} requests answered at {share}", checks)
    return CanaryDecision("promote", f"{answered} requests answered at {share}", checks)


def _wait(evidence: CanaryEvidence, why: str, checks: tuple[Check, ...]) -> CanaryDecision:
    if evidence.deadline is not None and evidence.now >= evidence.deadline:
        return CanaryDecision("pause", f"inconclusive: {why}", checks)
    return CanaryDecision("wait", why, checks)


def _arm(served: ServedPackage, weight: float) -> Arm:
    return Arm(
        version=served.version,
        weight=weight,
        role="live",
        digest=served.digest,
        format=served.format,
    )
