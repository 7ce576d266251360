"""The gates on a version's way to its model's traffic; pure.

Every way there, whoever asked for it, goes through `require_passed`.
"""

from enum import StrEnum

from loopwright_common.deploy_policy import ApprovalPolicy, DeployPolicy
from loopwright_common.errors import ConflictError
from loopwright_common.events import Check
from loopwright_deployer.deployments.domain import Deployment


class Gate(StrEnum):
    """What is passed, in this order; the platform's minimum first."""

    STAGING = "staging"
    APPROVAL = "approval"
    CANARY = "canary"
    WINDOW = "window"
    """Not in that order: a closed time of the policy holds whatever would bring more traffic."""


SKIPPABLE = frozenset({Gate.APPROVAL, Gate.CANARY, Gate.WINDOW})
"""Nothing meets traffic that staging has not judged."""


LEFT_TO_THE_CANARY = frozenset({"latency", "replay"})
"""Checks of staging whose question the canary asks again, of live calls."""


def pauses(check: Check, champion: int | None) -> bool:
    """Whether a person has to decide what staging could not.

    What a canary beside the champion will answer pauses nothing.
    """
    left = champion is not None and check.name in LEFT_TO_THE_CANARY
    return check.verdict == "inconclusive" and not left


def next_gate(deployment: Deployment, policy: DeployPolicy, champion: int | None) -> Gate | None:
    """The first gate that the version has not passed; None where all traffic may come to it.

    What staging found holds beside the `champion` that it was found beside, and beside no other; a
    first version has nobody to be compared with in a canary.
    """
    if not deployment.staged or deployment.staged_against != champion:
        return Gate.STAGING
    needs_approval = isinstance(policy.approval, ApprovalPolicy)
    if needs_approval and Gate.APPROVAL not in deployment.gates:
        return Gate.APPROVAL
    if champion is not None and Gate.CANARY not in deployment.gates:
        return Gate.CANARY
    return None


def require_passed(
    deployment: Deployment, policy: DeployPolicy, champion: int | None, but: Gate | None = None
) -> None:
    """ConflictError that says what to do, unless all gates are passed, `but` the one it stands at.

    `but` the canary's, a version may have a share of the traffic.
    """
    gate = next_gate(deployment, policy, champion)
    if gate not in (None, but):
        version = f"{deployment.model} version {deployment.version}"
        raise ConflictError(f"{version} {_WHAT_TO_DO[gate]}")


_WHAT_TO_DO = {
    Gate.STAGING: "has not passed staging beside what serves now; it cannot go live before",
    Gate.APPROVAL: "needs an approval by its policy before it goes live: approve it",
    Gate.CANARY: "is promoted by its canary's evidence: wait for it, or skip the gate `canary`",
}
