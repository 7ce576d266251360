"""A deployment: the journey of one version to one model's traffic, as a state machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from loopwright_common.errors import ConflictError
from loopwright_common.sandbox import Level


class DeploymentState(StrEnum):
    """Where a deployment stands; `TRANSITIONS` says which may follow which."""

    RECEIVED = "received"
    PACKAGING = "packaging"
    STAGING = "staging"
    VALIDATED = "validated"
    APPROVAL = "approval"
    CANARY = "canary"
    PROMOTING = "promoting"
    PAUSED = "paused"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled-back"
    SUPERSEDED = "superseded"
    ABORTED = "aborted"


ModelKey = tuple[str, str]
"""Environment and model id."""
_S = DeploymentState
_ENDS_EARLY = frozenset({_S.REJECTED, _S.SUPERSEDED, _S.ABORTED})
TRANSITIONS: Mapping[DeploymentState, frozenset[DeploymentState]] = {
    _S.RECEIVED: _ENDS_EARLY | {_S.PACKAGING, _S.VALIDATED},
    _S.PACKAGING: _ENDS_EARLY | {_S.STAGING},
    _S.STAGING: _ENDS_EARLY | {_S.VALIDATED, _S.PAUSED},
    _S.VALIDATED: _ENDS_EARLY | {_S.STAGING, _S.APPROVAL, _S.CANARY, _S.PROMOTING, _S.PAUSED},
    _S.APPROVAL: _ENDS_EARLY | {_S.VALIDATED, _S.PROMOTING, _S.PAUSED},
    _S.CANARY: frozenset({_S.PROMOTING, _S.PAUSED, _S.ROLLED_BACK, _S.ABORTED}),
    _S.PROMOTING: frozenset({_S.PROMOTED, _S.ROLLED_BACK, _S.ABORTED}),
    _S.PAUSED: _ENDS_EARLY
    | {_S.VALIDATED, _S.APPROVAL, _S.CANARY, _S.PROMOTING, _S.ROLLED_BACK, _S.PAUSED},
    _S.PROMOTED: frozenset({_S.ROLLED_BACK, _S.SUPERSEDED}),
    _S.REJECTED: frozenset(),
    _S.ROLLED_BACK: frozenset({_S.PROMOTED}),
    _S.SUPERSEDED: frozenset({_S.PROMOTED}),
    _S.ABORTED: frozenset(),
}
IN_FLIGHT = frozenset(DeploymentState) - {
    _S.PROMOTED, _S.REJECTED, _S.ROLLED_BACK, _S.SUPERSEDED, _S.ABORTED
}  # fmt: skip
BEFORE_CANARY = frozenset(
    {_S.RECEIVED, _S.PACKAGING, _S.STAGING, _S.VALIDATED, _S.APPROVAL, _S.PAUSED}
)
SKIPS_CANARY = frozenset({_S.VALIDATED, _S.APPROVAL, _S.CANARY, _S.PAUSED})
SKIPS_APPROVAL = frozenset({_S.VALIDATED, _S.APPROVAL, _S.PAUSED})
SKIPS_WINDOW = frozenset({_S.VALIDATED, _S.CANARY})
PAUSABLE = frozenset({_S.VALIDATED, _S.APPROVAL, _S.CANARY})
AWAITS_PERSON = frozenset({_S.APPROVAL, _S.PAUSED})
AUTOMATIC = IN_FLIGHT - AWAITS_PERSON
CARRIES_TRAFFIC = frozenset({_S.CANARY, _S.PROMOTING})
BEING_STAGED = frozenset({_S.RECEIVED, _S.PACKAGING, _S.STAGING})


@dataclass(frozen=True, slots=True)
class ServedPackage:
    """A serving package: its digest and format, as an arm of a route names it."""

    version: int
    digest: str
    format: str


class MovedError(ConflictError):
    """The deployment is no longer where it was seen, so what was to be done by that is not."""

    def __init__(self, seen: "Deployment") -> None:
        super().__init__(f"{seen.subject} left {seen.state} meanwhile")


class Standing(NamedTuple):
    """Where a deployment is: equal ones say that it has not moved, not even away and back."""

    state: DeploymentState
    step: int
    state_since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    """What says where a deployment is, and whether there is something to do about it.

    `waits` says what it waits for; `deadline` is the timer of its state; a paused one goes on in
    `paused_from`; nobody works on it before `retry_at`.
    """

    id: str
    environment: str
    model_id: str
    version: int
    state: DeploymentState = DeploymentState.RECEIVED
    paused_from: DeploymentState | None = None
    waits: str | None = None
    deadline: datetime | None = None
    retry_at: datetime | None = None

    @property
    def model_key(self) -> ModelKey:
        return self.environment, self.model_id

    @property
    def at(self) -> DeploymentState:
        """Its state, or where it stands while it is paused."""
        return self.paused_from or self.state

    @property
    def carries_traffic(self) -> bool:
        """Whether the route names its version on the way to champion."""
        return self.at in CARRIES_TRAFFIC

    @property
    def in_canary(self) -> bool:
        """Whether it has a canary's share, paused or not."""
        return self.at is DeploymentState.CANARY

    def is_postponed(self, now: datetime) -> bool:
        """Whether the time of its next try is still to come."""
        return self.retry_at is not None and now < self.retry_at

    def has_work(self, now: datetime) -> bool:
        """Whether a deployer may have something to do about it now.

        Of what awaits a person that is so once its time is up, and while it has a canary's share.
        """
        if self.state in AWAITS_PERSON:
            late = self.deadline is not None and self.deadline <= now
            return late or self.in_canary
        return not self.is_postponed(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(DeploymentStatus):
    """One attempt to bring a version to its model's traffic.

    `why` says how it came into its state. `step` counts canary steps from 0; `gates` says how each
    gate beyond staging was passed. `sandbox` is the weakest level at which it was packaged and
    staged, `staged_against` the version that was champion then. Something outside is away since
    `failing_since`.
    """

    model: str
    attempt: int = 1
    why: str
    step: int = 0
    staged: bool = False
    staged_against: int | None = None
    gates: Mapping[str, str] = field(default_factory=dict)
    champion: bool = False
    previous: int | None = None
    served: ServedPackage | None = None
    sandbox: Level | None = None
    failing_since: datetime | None = None
    state_since: datetime
    created_at: datetime
    promoted_at: datetime | None = None

    @property
    def subject(self) -> str:
        return f"models/{self.model}/versions/{self.version}"

    @property
    def key(self) -> str:
        return f"{self.environment}/{self.model_id}"

    @property
    def supersedable(self) -> bool:
        """Whether it gives way to a newer version: it has had no traffic yet."""
        return self.state in BEFORE_CANARY and not self.carries_traffic

    @property
    def standing(self) -> Standing:
        return Standing(self.state, self.step, self.state_since)


def what_ends_the_wait(busy: DeploymentStatus) -> str:
    """What ends the wait for a version that has a share of the traffic."""
    if busy.state is DeploymentState.PAUSED:
        return f"waits for a person to decide about version {busy.version}, which is paused"
    return f"waits for version {busy.version}, which is {busy.state}"


def transition(deployment: Deployment, to: DeploymentState, why: str, at: datetime) -> Deployment:
    """The deployment in its next state; ConflictError where the table has no such step."""
    if to not in TRANSITIONS[deployment.state]:
        raise ConflictError(_impossible(deployment, to))
    return replace(
        deployment,
        state=to,
        why=why,
        waits=None,
        state_since=at,
        deadline=None,
        failing_since=None,
        retry_at=None,
        champion=to is DeploymentState.PROMOTED,
        paused_from=deployment.state if to is DeploymentState.PAUSED else None,
    )


def require_state(deployment: Deployment, allowed: frozenset[DeploymentState], action: str) -> None:
    """ConflictError with what is possible instead, unless the state is an allowed one."""
    if deployment.state not in allowed:
        names = ", ".join(sorted(allowed))
        raise ConflictError(
            f"{deployment.model} version {deployment.version} is {deployment.state} "
            f"({deployment.why}); {action} needs one of: {names}"
        )


def require_staged(deployment: Deployment) -> None:
    """The platform's minimum: nothing goes live that staging has not judged; else ConflictError."""
    if not deployment.staged:
        raise ConflictError(
            f"{deployment.model} version {deployment.version} has not passed staging; "
            "it cannot go live before"
        )


def _impossible(deployment: Deployment, to: DeploymentState) -> str:
    possible = ", ".join(sorted(TRANSITIONS[deployment.state])) or "nothing, it has ended"
    return (
        f"{deployment.model} version {deployment.version} is {deployment.state} "
        f"and cannot become {to}; possible: {possible}"
    )
