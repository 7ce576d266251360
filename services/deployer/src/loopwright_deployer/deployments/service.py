"""Use cases of a deployment's life, from its start to its end; none commits.

What moves a deployment raises ConflictError where its state machine has no such step, or somebody
else was quicker.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from loopwright_common import clock
from loopwright_common.database import Cause, UnitOfWork
from loopwright_common.events import (
    Check,
    DeploymentValidated,
    ModelRegistered,
)
from loopwright_common.failpoints import failpoint
from loopwright_common.ids import derived_id
from loopwright_common.sandbox import Level, weakest
from loopwright_common.wording import counted
from loopwright_deployer.deployments.domain import (
    Deployment,
    DeploymentState,
    ModelKey,
    MovedError,
    ServedPackage,
    transition,
)
from loopwright_deployer.deployments.emitted_events import (
    emit_changed,
    emit_event,
    emit_finished,
    event_fields,
)
from loopwright_deployer.deployments.gates import pauses
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.deployments.retry_schedule import next_retry


async def lock_model(uow: UnitOfWork, environment: str, model_id: str) -> None:
    """Until this commits nobody else decides about the model: what is read now stays true."""
    await lock_models(uow, [(environment, model_id)])


async def lock_models(uow: UnitOfWork, models: Iterable[ModelKey]) -> None:
    """As `lock_model`, several at once."""
    await uow.lock(*{f"model/{environment}/{model_id}" for environment, model_id in models})


async def lock_deployment(uow: UnitOfWork, deployment_id: str) -> DeploymentRecord:
    """The deployment as it is and, since its model is locked, stays until this commits.

    NotFoundError when there is none.
    """
    deployments = Deployments(uow.connection)
    seen = (await deployments.get(deployment_id)).deployment
    await lock_model(uow, *seen.model_key)
    return await deployments.get(deployment_id)


async def lock_unchanged(uow: UnitOfWork, seen: DeploymentRecord) -> DeploymentRecord:
    """As `lock_deployment`; MovedError when the deployment has moved since it was seen."""
    record = await lock_deployment(uow, seen.deployment.id)
    if record.deployment.standing != seen.deployment.standing:
        raise MovedError(seen.deployment)
    return record


async def start_deployment(
    uow: UnitOfWork, registered: ModelRegistered, environment: str, cause: Cause
) -> None:
    """Start the deployment of a new version, once; older ones not yet in a canary give way.

    One whose policy cannot be read ends at once, so it takes no place from one that can.
    """
    await lock_model(uow, environment, registered.model_id)
    record = new_record(registered, environment, cause, attempt=1)
    deployments = Deployments(uow.connection)
    if not await deployments.insert(record):
        return
    await _tell(uow, record, None)
    failpoint("deployer.received")
    others = await deployments.of_model(environment, registered.model_id)
    newer = [r.deployment.version for r in others if r.deployment.version > registered.version]
    if newer:
        await supersede(uow, record, _came_before(max(newer)))
        return
    for other in others:
        if other.deployment.id != record.deployment.id and other.deployment.supersedable:
            await supersede(uow, other, _came_before(registered.version))
    if record.policy_fault:
        await reject_unreadable(uow, record, record.policy_fault)


async def start_attempt(uow: UnitOfWork, record: DeploymentRecord, by: str) -> None:
    """Start another attempt of a version, at a person's request."""
    await Deployments(uow.connection).insert(record)
    await _tell(uow, record, by)


def new_record(
    registered: ModelRegistered, environment: str, cause: Cause, attempt: int
) -> DeploymentRecord:
    """The first state of an attempt, counted from 1; the same attempt always has the same id."""
    now = clock.now()
    deployment = Deployment(
        id=derived_id("deployment", environment, registered.model_id, registered.version, attempt),
        environment=environment,
        model_id=registered.model_id,
        model=registered.model,
        version=registered.version,
        attempt=attempt,
        why="registered",
        state_since=now,
        created_at=now,
    )
    return DeploymentRecord(deployment, registered, cause)


async def advance(
    uow: UnitOfWork,
    record: DeploymentRecord,
    to: DeploymentState,
    why: str,
    *,
    by: str | None = None,
    deadline: datetime | None = None,
) -> DeploymentRecord:
    """Enter the next state; ConflictError where that is impossible or somebody was quicker."""
    moved = transition(record.deployment, to, why, clock.now())
    return await save_state(uow, record, replace(moved, deadline=deadline), by)


async def save_state(
    uow: UnitOfWork, record: DeploymentRecord, deployment: Deployment, by: str | None = None
) -> DeploymentRecord:
    """Keep a changed deployment and add it to its story."""
    changed = replace(record, deployment=deployment)
    await Deployments(uow.connection).update(changed, record.deployment)
    await _tell(uow, changed, by)
    failpoint(f"deployer.{deployment.state}")
    return changed


async def finish_packaging(
    uow: UnitOfWork, record: DeploymentRecord, served: ServedPackage, why: str, level: Level
) -> DeploymentRecord:
    """The serving package, made at a level of the sandbox, is in the store; staging is next."""
    moved = transition(record.deployment, DeploymentState.STAGING, why, clock.now())
    return await save_state(uow, record, replace(moved, served=served, sandbox=level))


async def finish_staging(
    uow: UnitOfWork,
    record: DeploymentRecord,
    checks: tuple[Check, ...],
    report: str,
    level: Level,
    champion: int | None,
) -> DeploymentRecord:
    """Staging has judged, at a level of the sandbox: on to the gates, to a person, or the end.

    `champion` is the version that it was compared with.
    """
    failed = [check for check in checks if check.verdict == "failed"]
    unclear = [check for check in checks if pauses(check, champion)]
    levels = [level, record.deployment.sandbox or level]
    deployment = replace(
        record.deployment, sandbox=weakest(levels), staged=False, staged_against=champion
    )
    judged = replace(record, deployment=deployment, checks=checks, report=report)
    if failed:
        why = f"staging: {failed[0].name}: {failed[0].sentence}"
        moved = await advance(uow, judged, DeploymentState.REJECTED, why)
    elif unclear:
        why = f"inconclusive: {unclear[0].name}: {unclear[0].sentence}"
        moved = await advance(uow, judged, DeploymentState.PAUSED, why)
    else:
        moved = await accept_staging(uow, judged, _summary(checks))
    followed = await emit_event(uow, moved, _validation(moved, passed=not failed and not unclear))
    return await emit_finished(uow, followed, "rejected") if failed else followed


async def accept_staging(
    uow: UnitOfWork, record: DeploymentRecord, why: str, by: str | None = None
) -> DeploymentRecord:
    """Staging has let the version pass: by its checks, or since a person accepts unclear ones."""
    moved = transition(record.deployment, DeploymentState.VALIDATED, why, clock.now())
    return await save_state(uow, record, replace(moved, staged=True), by)


async def reject(
    uow: UnitOfWork, record: DeploymentRecord, why: str, by: str | None = None
) -> DeploymentRecord:
    """End it before it had traffic."""
    return await emit_finished(
        uow, await advance(uow, record, DeploymentState.REJECTED, why, by=by), "rejected"
    )


async def reject_unreadable(uow: UnitOfWork, record: DeploymentRecord, fault: str) -> None:
    """End a version whose policy cannot be read."""
    await reject(uow, record, f"its policy cannot be read: {fault}")


async def postpone(uow: UnitOfWork, record: DeploymentRecord, fault: str, limit: timedelta) -> None:
    """What the deployment needs is away: try again later; reject it once that lasts for `limit`."""
    now = clock.now()
    since = record.deployment.failing_since or now
    outage = next_retry(since, now, limit)
    if outage is None:
        await reject(uow, record, _outage_exceeded(since, limit, fault))
        return
    waits = (
        f"tries again at {clock.to_text(outage.retry_at)}, failing since {clock.to_text(since)}, "
        f"gives up at {clock.to_text(outage.deadline)}: {fault}"
    )
    await Deployments(uow.connection).postpone(record.deployment, outage, waits)


async def supersede(uow: UnitOfWork, record: DeploymentRecord, why: str) -> DeploymentRecord:
    """End it before it had traffic, in favour of another version."""
    return await emit_finished(
        uow, await advance(uow, record, DeploymentState.SUPERSEDED, why), "superseded"
    )


async def _tell(uow: UnitOfWork, record: DeploymentRecord, by: str | None) -> None:
    """Add the present state to the deployment's story, and say so to others."""
    await Deployments(uow.connection).append_history(record.deployment, by)
    await emit_changed(uow, record, by)


def _summary(checks: Sequence[Check]) -> str:
    """How many checks passed, and which did not."""
    named = {
        verdict: ", ".join(check.name for check in checks if check.verdict == verdict)
        for verdict in ("skipped", "inconclusive")
    }
    passed = sum(check.verdict == "passed" for check in checks)
    parts = [f"{counted(passed, 'check')} passed"]
    parts += [f"skipped: {named['skipped']}"] if named["skipped"] else []
    parts += [f"left to the canary: {named['inconclusive']}"] if named["inconclusive"] else []
    return "; ".join(parts)


def _came_before(newer: int) -> str:
    return f"version {newer} came before this one had traffic"


def _outage_exceeded(since: datetime, limit: timedelta, fault: str) -> str:
    return (
        f"failing since {clock.to_text(since)}, which is as long as {limit.total_seconds():g} s in "
        "LOOPWRIGHT_DEPLOYER_INDEX_OUTAGE_SECONDS: let the deployer reach the package index that "
        "UV_DEFAULT_INDEX or UV_FIND_LINKS names, then register the package as a new version: "
        f"{fault}"
    )


def _validation(record: DeploymentRecord, *, passed: bool) -> DeploymentValidated:
    names = {**event_fields(record.deployment), "environment": "staging"}
    checks = list(record.checks)
    return DeploymentValidated(**names, passed=passed, checks=checks, report=record.report)
