"""Bodies of the requests and answers of the deployer's API."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from loopwright_common.deploy_policy import DeployPolicy
from loopwright_common.events import Arm, Check
from loopwright_common.name_field import Name
from loopwright_common.sandbox import Level
from loopwright_deployer.canary.call_counts import sum_counters
from loopwright_deployer.canary.decisions import Action, CanaryDecision
from loopwright_deployer.canary.looks import KeptLook, evidence_fields
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.gates import Gate
from loopwright_deployer.deployments.offers import Offer, Verb
from loopwright_deployer.deployments.repository import DeploymentRecord, HistoryEntry
from loopwright_deployer.operator_actions.gates import Skip
from loopwright_deployer.plan import plan
from loopwright_deployer.routing.routes import RouteRow


class OperatorRequestIn(BaseModel):
    """Who decides, and why."""

    model_config = ConfigDict(extra="forbid")
    by: Name = Field(min_length=1, max_length=200)
    reason: str = Field(default="", max_length=2000)


class UndoIn(OperatorRequestIn):
    """Back to the champion before this one, or to the `version` that has been one."""

    version: int | None = Field(default=None, ge=1)


class SkipIn(OperatorRequestIn):
    """Which gate is skipped, or `step`, the canary's present one; it takes a reason."""

    gate: Skip
    reason: str = Field(min_length=1, max_length=2000)


class DeploymentStepOut(BaseModel):
    """A state that a deployment entered, when, why, and by whom where a person decided."""

    number: int
    state: DeploymentState
    why: str
    by: str | None
    at: datetime


class RouteOut(BaseModel):
    """A model's present route: live arms, whose weights add up to 1, and what is kept loaded."""

    environment: str
    model_id: str
    model: str
    revision: int
    arms: list[Arm]
    kept: list[Arm]
    aliases: dict[str, int]
    changed_at: datetime


class RoutesOut(BaseModel):
    """The routes of all models; there is one page."""

    items: list[RouteOut]
    next: str | None = None


class DeploymentOut(BaseModel):
    """A deployment; `why` says how it came into its state, what it waits for and who has it."""

    id: str
    environment: str
    model_id: str
    model: str
    version: int
    attempt: int
    state: DeploymentState
    why: str
    canary_step: int | None
    champion: bool
    previous: int | None
    sandbox: Level | None
    """The weakest level at which the version was packaged and staged."""
    gates: dict[str, str]
    """How each gate beyond staging was passed."""
    weight: float
    """The version's share of the traffic, from 0 to 1."""
    deadline: datetime | None
    failing_since: datetime | None
    retry_at: datetime | None
    created_at: datetime
    state_since: datetime
    promoted_at: datetime | None
    checks: list[Check]
    report: str | None


class OfferOut(BaseModel):
    """A verb that is possible now, the gate that `skip` skips, and what comes of it."""

    verb: Verb
    gate: Gate | None
    effect: str


class StagingReportOut(BaseModel):
    """What staging found; `details` are by check, beside its verdict, `policy` as it was."""

    deployment: str
    model: str
    version: int
    package: str
    serving_package: str | None
    packaging: str
    sandbox: Level
    policy: dict[str, Any]
    checks: list[Check]
    details: dict[str, Any] = {}


class DeploymentDetailOut(DeploymentOut):
    """A deployment with its policy, its history and the present route of its model.

    `may` is what a person may decide now, where one is waited for or a closed window holds it.
    """

    policy: DeployPolicy
    may: list[OfferOut]
    steps: list[DeploymentStepOut]
    route: RouteOut | None


class DeploymentsOut(BaseModel):
    """A page of deployments, newest first; `next` is the `after` of the following page."""

    items: list[DeploymentOut]
    next: str | None = None


class CanaryLookOut(BaseModel):
    """A look at a canary: its evidence, and what was decided by it; `step` is from 0.

    A `paused` one is looked at without moving on: it only ends by its faults.
    """

    number: int
    at: datetime
    step: int
    paused: bool
    evidence: Mapping[str, Any]
    action: Action
    why: str
    checks: list[Check]


class CanaryLooksOut(BaseModel):
    """A page of looks, oldest first; `next` is the `after` of the following page."""

    items: list[CanaryLookOut]
    next: str | None = None


class JudgeIn(BaseModel):
    """The policy to judge by, as `deploy:` has it; without one the deployment's own."""

    model_config = ConfigDict(extra="forbid")
    policy: dict[str, Any] | None = None


class JudgedLookOut(BaseModel):
    """What is decided of a look's evidence now, and what was then, with the requests so far.

    `same` is whether all of it is: action, sentence, and every figure of the checks.
    """

    number: int
    at: datetime
    step: int
    paused: bool
    canary_requests: int
    champion_requests: int
    checks: list[Check]
    action: Action
    why: str
    live_action: Action
    live_why: str
    same: bool


class JudgedLooksOut(BaseModel):
    """A page of looks that were judged again, oldest first."""

    items: list[JudgedLookOut]
    next: str | None = None


class PlannedStepOut(BaseModel):
    """A state to come, or `done`, and what happens in it."""

    state: DeploymentState
    sentence: str
    done: bool


class PlanOut(BaseModel):
    """What a deployment goes through, before and while it does."""

    deployment_id: str
    steps: list[PlannedStepOut]


def deployment_out(record: DeploymentRecord, owner: str | None) -> DeploymentOut:
    return DeploymentOut.model_validate(_fields(record, owner))


def deployment_detail_out(
    record: DeploymentRecord,
    history: list[HistoryEntry],
    row: RouteRow | None,
    owner: str | None,
    offered: Sequence[Offer],
) -> DeploymentDetailOut:
    steps = [
        DeploymentStepOut(number=s.number, state=s.state, why=s.why, by=s.by, at=s.at)
        for s in history
    ]
    route = route_out(row) if row else None
    may = [offer._asdict() for offer in offered]
    more = {"policy": record.policy, "may": may, "steps": steps, "route": route}
    return DeploymentDetailOut.model_validate({**_fields(record, owner), **more})


def plan_out(
    record: DeploymentRecord, history: list[HistoryEntry], champion: int | None
) -> PlanOut:
    """The states to come beside the `champion`'s version, and which of them are done."""
    done = {entry.state for entry in history}
    beside = f"version {champion}" if champion is not None else None
    steps = [
        PlannedStepOut(state=step.state, sentence=step.sentence, done=step.state in done)
        for step in plan(record.policy, beside)
    ]
    return PlanOut(deployment_id=record.deployment.id, steps=steps)


def canary_look_out(kept: KeptLook) -> CanaryLookOut:
    look, decision = kept.look, kept.look.decision
    return CanaryLookOut(
        **_place_of(kept),
        evidence=evidence_fields(look.evidence),
        action=decision.action,
        why=decision.why,
        checks=list(decision.checks),
    )


def judged_look_out(kept: KeptLook, again: CanaryDecision) -> JudgedLookOut:
    """The look beside what was decided of it `again`."""
    steps, live = kept.look.evidence.steps, kept.look.decision
    return JudgedLookOut(
        **_place_of(kept),
        canary_requests=sum_counters(step.canary for step in steps).requests,
        champion_requests=sum_counters(step.champion for step in steps).requests,
        checks=list(again.checks),
        action=again.action,
        why=again.why,
        live_action=live.action,
        live_why=live.why,
        same=again == live,
    )


def _place_of(kept: KeptLook) -> dict[str, Any]:
    look = kept.look
    return {
        "number": kept.number,
        "at": look.evidence.now,
        "step": look.step,
        "paused": look.paused,
    }


def route_out(row: RouteRow) -> RouteOut:
    return RouteOut(
        environment=row.environment,
        model_id=row.model_id,
        model=row.model,
        revision=row.route.revision,
        arms=list(row.route.arms),
        kept=list(row.route.kept),
        aliases=dict(row.aliases),
        changed_at=row.changed_at,
    )


def _fields(record: DeploymentRecord, owner: str | None) -> dict[str, object]:
    deployment = record.deployment
    shared = set(DeploymentOut.model_fields) & {field.name for field in fields(deployment)}
    return {
        **{name: getattr(deployment, name) for name in shared},
        "why": "; ".join(part for part in (deployment.why, deployment.waits, owner) if part),
        "canary_step": deployment.step if deployment.in_canary else None,
        "weight": record.weight,
        "checks": list(record.checks),
        "report": record.report,
    }
