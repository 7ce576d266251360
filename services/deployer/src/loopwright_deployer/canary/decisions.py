"""The arms of a route, and what a canary does next; pure decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import exp
from typing import Literal

from loopwright_common.deploy_policy import CanaryPolicy, DeployPolicy
from loopwright_common.events import Arm, Check
from loopwright_common.wording import counted
from loopwright_deployer.canary.acknowledgement import Acknowledgement
from loopwright_deployer.canary.call_counts import StepCounts
from loopwright_deployer.canary.verdicts import (
    CanaryVerdict,
    begins_to_be_timed,
    canary_tests,
    evidence_needed,
    judge_errors,
    judge_latency,
    judge_refusals,
)
from loopwright_deployer.deployments.domain import ServedPackage
from loopwright_deployer.deployments.windows import closed_until, wait_sentence

_MORE_CALLS = "; only calls tell, so resume it while callers ask the model"
Action = Literal["wait", "begin-anew", "advance", "promote", "roll-back", "freeze", "pause"]


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

    action: Action
    why: str
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryEvidence:
    """All a decision looks at: the steps so far, the replicas, whether windows are skipped."""

    steps: Sequence[StepCounts]
    acknowledgement: Acknowledgement
    deadline: datetime | None
    now: datetime
    skips_windows: bool = False


def all_traffic(served: ServedPackage) -> tuple[Arm, ...]:
    """All traffic to one version."""
    return (_arm(served, 1.0),)


def split_traffic(champion: ServedPackage, canary: ServedPackage, weight: float) -> tuple[Arm, ...]:
    """A share `weight` of the traffic to the canary, the rest to the champion."""
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
    if fault := _fault(evidence):
        return CanaryDecision("roll-back", fault)
    latency = policy.staging.latency
    verdicts = (
        judge_errors(evidence.steps, policy.canary),
        judge_refusals(evidence.steps, policy.canary),
        judge_latency(evidence.steps, policy.canary, latency),
    )
    checks = tuple(verdict.check for verdict in verdicts)
    if failed := next((check for check in checks if check.verdict == "failed"), None):
        return CanaryDecision(policy.canary.worse, failed.sentence, checks)
    current, complete = evidence.steps[-1], evidence.acknowledgement.complete
    if complete and begins_to_be_timed(current, latency):
        return CanaryDecision("begin-anew", "the champion's calls say by now what is slow", checks)
    if missing := _what_is_missing(policy.canary, step, evidence, verdicts):
        return _wait(evidence, missing, checks)
    if until := _closed_until(policy, evidence):
        return CanaryDecision("wait", wait_sentence(until), checks)
    action: Action = "advance" if step + 1 < len(policy.canary.steps) else "promote"
    share = f"{policy.canary.steps[step].weight:.0%}"
    return CanaryDecision(
        action, f"{counted(current.canary.calls, 'request')} answered at {share}", checks
    )


def _closed_until(policy: DeployPolicy, evidence: CanaryEvidence) -> datetime | None:
    return None if evidence.skips_windows else closed_until(policy.windows, evidence.now)


def only_waits(policy: DeployPolicy, step: int, evidence: CanaryEvidence) -> bool:
    """Whether `decide_canary` says "wait", without the figures and sentences that it says too."""
    if _fault(evidence):
        return False
    latency = policy.staging.latency
    tests = canary_tests(evidence.steps, policy.canary, latency)
    if any(test.fails for test in tests if test):
        return False
    current, complete = evidence.steps[-1], evidence.acknowledgement.complete
    if complete and begins_to_be_timed(current, latency):
        return False
    too_few = current.canary.requests < max(policy.canary.steps[step].min_requests, 1)
    needed = evidence_needed(policy.canary, step)
    if not complete or too_few or any(test is None or test.harmless < needed for test in tests):
        return evidence.deadline is None or evidence.now < evidence.deadline
    return _closed_until(policy, evidence) is not None


def _fault(evidence: CanaryEvidence) -> str | None:
    """What takes a canary out whatever its figures are."""
    if trip := evidence.steps[-1].canary.tripped or evidence.acknowledgement.tripped:
        return f"a replica stopped sending to it: {trip}"
    return evidence.acknowledgement.problem


def _what_is_missing(
    canary: CanaryPolicy, step: int, evidence: CanaryEvidence, verdicts: Sequence[CanaryVerdict]
) -> str | None:
    """What the step still waits for; of the evidence it takes its part, the last step all."""
    if not evidence.acknowledgement.complete:
        return evidence.acknowledgement.why
    wanted, answered = canary.steps[step].min_requests, evidence.steps[-1].canary.requests
    share = f"{canary.steps[step].weight:.0%}"
    if not answered:
        return f"no request has come to the new version at {share} of the traffic"
    if answered < wanted:
        return f"the new version has had only {answered} of {wanted} requests at {share}"
    needed = evidence_needed(canary, step)
    for verdict in verdicts:
        if verdict.harmless < needed:
            return (
                f"{verdict.check.name} is not known to be harmless after "
                f"{counted(answered, 'request')} at {share} (evidence "
                f"{exp(verdict.harmless):.3g} of {exp(needed):.3g}): {verdict.check.sentence}"
            )
    return None


def _wait(evidence: CanaryEvidence, why: str, checks: tuple[Check, ...]) -> CanaryDecision:
    if evidence.deadline is not None and evidence.now >= evidence.deadline:
        remedy = _MORE_CALLS if evidence.acknowledgement.complete else ""
        return CanaryDecision("pause", f"inconclusive: {why}{remedy}", checks)
    return CanaryDecision("wait", why, checks)


def _arm(served: ServedPackage, weight: float) -> Arm:
    return Arm(
        version=served.version,
        weight=weight,
        role="live",
        digest=served.digest,
        format=served.format,
    )
