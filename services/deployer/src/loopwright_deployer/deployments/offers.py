"""What is asked of a person while a deployment waits for one; pure."""

from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from loopwright_common.deploy_policy import DeployPolicy
from loopwright_deployer.deployments.domain import SKIPS_WINDOW, Deployment, DeploymentState
from loopwright_deployer.deployments.gates import SKIPPABLE, Gate, next_gate
from loopwright_deployer.deployments.windows import held_until

Verb = Literal["approve", "reject", "resume", "skip", "abort"]


class Offer(NamedTuple):
    """A verb that is possible now, the gate that `skip` skips, and what comes of it."""

    verb: Verb
    effect: str
    gate: Gate | None = None


def offers(
    deployment: Deployment,
    policy: DeployPolicy,
    champion: int | None,
    now: datetime,
    skippable: Container[Gate] = SKIPPABLE,
) -> Sequence[Offer]:
    """What a person may decide `now` beside the `champion`; none where there is nothing to decide.

    `skippable` are the gates that the platform permits to be skipped. Of two verbs that do the same
    now (`promote` of a paused one is `resume`) one is named.
    """
    if deployment.state is DeploymentState.APPROVAL:
        return list(_of_approval(skippable))
    is_held = held_until(deployment, policy, now) is not None
    if deployment.state is DeploymentState.PAUSED:
        # What would bring more traffic at once is refused while it is held.
        permitted = () if is_held and deployment.in_canary else skippable
        return list(_of_pause(deployment, policy, champion, permitted))
    if is_held and deployment.state in SKIPS_WINDOW and Gate.WINDOW in skippable:
        return [Offer("skip", "it goes on at once, whatever the time", Gate.WINDOW)]
    return ()


def _of_approval(skippable: Container[Gate]) -> Iterator[Offer]:
    yield Offer("approve", "it goes on")
    yield Offer("reject", "it ends")
    if Gate.APPROVAL in skippable:
        yield _SKIPS[Gate.APPROVAL]


def _of_pause(
    deployment: Deployment, policy: DeployPolicy, champion: int | None, skippable: Container[Gate]
) -> Iterator[Offer]:
    if deployment.paused_from is DeploymentState.STAGING:
        yield Offer("resume", "what staging left open is accepted, and it goes on")
    else:
        gate = next_gate(deployment, policy, champion)
        yield Offer("resume", _RESUMED[gate] if not deployment.in_canary else _CANARY_GOES_ON)
        if gate in _SKIPS and gate in skippable:
            yield _SKIPS[gate]
    yield Offer("abort", f"it ends, and version {champion} serves all" if champion else "it ends")


_SKIPS = {
    Gate.APPROVAL: Offer("skip", "it goes on without an approval", Gate.APPROVAL),
    Gate.CANARY: Offer("skip", "it gets all traffic, without the canary's evidence", Gate.CANARY),
}
_RESUMED = {
    Gate.STAGING: "it is staged again, beside what serves now",
    Gate.APPROVAL: "an approval is asked for again",
    Gate.CANARY: "the canary begins at its first step",
    None: "it gets all traffic",
}
_CANARY_GOES_ON = "the canary goes on, with its whole time anew"
