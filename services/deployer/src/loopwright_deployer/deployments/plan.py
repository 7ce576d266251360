"""What a deployment will go through, said before it does; pure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loopwright_common.deploy_policy import ApprovalPolicy, DeployPolicy, write_duration
from loopwright_deployer.deployments.domain import DeploymentState


class PlannedState(NamedTuple):
    """A state to come, and one sentence on what happens in it."""

    state: DeploymentState
    sentence: str


def plan(policy: DeployPolicy, champion: int | None) -> Sequence[PlannedState]:
    """The states to come, given the policy and the version that serves now."""
    return tuple(_states(policy, champion))


def _states(policy: DeployPolicy, champion: int | None) -> Iterator[PlannedState]:
    yield PlannedState(DeploymentState.RECEIVED, "the version is registered")
    yield PlannedState(
        DeploymentState.PACKAGING, "compiled to ONNX where its answers stay the same"
    )
    yield PlannedState(DeploymentState.STAGING, _staging(policy, champion))
    yield PlannedState(
        DeploymentState.VALIDATED, "no check failed; an unclear one waits for a person"
    )
    if isinstance(policy.approval, ApprovalPolicy):
        roles = " or ".join(policy.approval.roles)
        within = write_duration(policy.approval.within)
        yield PlannedState(
            DeploymentState.APPROVAL,
            f"{roles} approves within {within}, else {policy.approval.then}",
        )
    if champion is not None:
        yield PlannedState(DeploymentState.CANARY, _canary(policy, champion))
    yield PlannedState(
        DeploymentState.PROMOTING, "all traffic; waits until every live replica serves it"
    )
    yield PlannedState(DeploymentState.PROMOTED, "champion")


def _staging(policy: DeployPolicy, champion: int | None) -> str:
    staging = policy.staging
    if champion is None:
        return "checks in a real scorer; no champion to compare with"
    return (
        f"checks in a real scorer; {staging.holdout.metric} at most {staging.holdout.margin:g} "
        f"worse than version {champion}, latency p99 {staging.latency_p99.at_most}"
    )


def _canary(policy: DeployPolicy, champion: int) -> str:
    steps = ", ".join(f"{s.weight:.0%} for {s.min_requests} requests" for s in policy.canary.steps)
    longest = write_duration(policy.canary.max_time)
    return f"beside version {champion}: {steps}; pauses after {longest} without enough of them"
