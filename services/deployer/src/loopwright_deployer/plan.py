"""What a deployment will go through, said before it does; pure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loopwright_common.deploy_policy import (
    ApprovalPolicy,
    CanaryPolicy,
    CanaryStep,
    DeployPolicy,
    LabelsPolicy,
    WebhookPolicy,
    WindowsPolicy,
    write_clock,
    write_duration,
)
from loopwright_common.wording import counted
from loopwright_deployer.canary.verdicts import calls_to_pass
from loopwright_deployer.deployments.domain import DeploymentState

_PAUSES = {
    "withdraw": "when the champion serves everything again",
    "stay": "and keeps its share then",
}
_WORSE = {
    "roll-back": "is rolled back",
    "freeze": "gets no traffic, stays loaded and waits for a person",
}


class PlannedState(NamedTuple):
    """A state to come, and one sentence on what happens in it."""

    state: DeploymentState
    sentence: str


def plan(policy: DeployPolicy, champion: str | None) -> Sequence[PlannedState]:
    """The states to come, given the policy and what serves now, such as `version 3`."""
    return tuple(_states(policy, champion))


def _states(policy: DeployPolicy, champion: str | None) -> Iterator[PlannedState]:
    yield PlannedState(DeploymentState.RECEIVED, "the version is registered")
    yield PlannedState(
        DeploymentState.PACKAGING, "compiled to ONNX where its answers stay the same"
    )
    yield PlannedState(DeploymentState.STAGING, _staging(policy, champion))
    unclear = "no check failed; an unclear one waits for a person"
    yield PlannedState(DeploymentState.VALIDATED, unclear + _windows(policy.windows))
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
    yield PlannedState(DeploymentState.PROMOTED, "champion" + _labels(policy.labels, champion))


def _labels(labels: LabelsPolicy | None, champion: str | None) -> str:
    if labels is None or champion is None:
        return ""
    return (
        f"; taken back where labels that come within {write_duration(labels.window)} show that it "
        f"was wrong on {counted(100 * labels.margin, 'point')} more of the canary's calls than "
        f"{champion}"
    )


def _windows(windows: WindowsPolicy | None) -> str:
    if windows is None:
        return ""
    closed = ", ".join(
        f"{' '.join(window.days)} {write_clock(window.begin)} to {write_clock(window.end)}"
        for window in windows.closed
    )
    return f"; waits for more traffic while its windows are closed: {closed} ({windows.zone})"


def _staging(policy: DeployPolicy, champion: str | None) -> str:
    holdout, latency = policy.staging.holdout, policy.staging.latency
    asked = _webhooks(policy.staging.webhooks)
    if champion is None:
        return f"checks in a real scorer; no champion to compare with{asked}"
    compared = "median and p95" if latency.relative else "p95"
    metric = holdout.metric or "log_loss of probabilities, error_rate of labels or r2 of figures"
    slices = f" and in no slice by {' or '.join(holdout.slices)} more" if holdout.slices else ""
    return (
        f"checks in a real scorer; {metric} known to be less than {holdout.allowed:g} worse than "
        f"{champion}'s{slices}, {compared} of the latency below {latency.in_words}{asked}"
    )


def _webhooks(webhooks: Sequence[WebhookPolicy]) -> str:
    asked = ", ".join(f"{webhook.name} at {webhook.url}" for webhook in webhooks)
    return f"; then has its say: {asked}" if asked else ""


def _canary(policy: DeployPolicy, champion: str) -> str:
    canary = policy.canary
    steps = ", ".join(_canary_step(step) for step in canary.steps)
    longest, points = write_duration(canary.max_time), counted(100 * canary.margin, "point")
    return (
        f"beside {champion}: {steps} of the traffic, until evidence says that neither its "
        f"failed nor its slow calls are {points} more than the champion's, which takes "
        f"{_calls(canary)}; pauses after {longest} without, "
        f"{_PAUSES[canary.then]}; one that is worse {_WORSE[canary.worse]}"
    )


def _calls(canary: CanaryPolicy) -> str:
    *before, everything = (calls_to_pass(canary, step) for step in range(len(canary.steps)))
    parts = [
        f"{calls} by the end of {step.weight:.0%}"
        for calls, step in zip(before, canary.steps, strict=False)
    ]
    of_them = f" ({', '.join(parts)})" if parts else ""
    return f"{counted(everything, 'call')} of it at least{of_them}"


def _canary_step(step: CanaryStep) -> str:
    least = f" for at least {step.min_requests} requests" if step.min_requests > 1 else ""
    return f"{step.weight:.0%}{least}"
