"""Another attempt of a version whose deployment has ended; it goes through all its gates."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from loopwright_common import clock
from loopwright_common.database import Cause, UnitOfWork
from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_common.events import PromotionRefused, PromotionRequested
from loopwright_deployer.canary.frozen import without_canary_checks
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import IN_FLIGHT, Deployment, DeploymentState
from loopwright_deployer.deployments.emitted_events import event_fields
from loopwright_deployer.deployments.gates import Gate
from loopwright_deployer.deployments.offers import offers
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.operator_actions.request import OperatorRequest
from loopwright_deployer.routing import route_revisions

log = structlog.get_logger()
CHAMPION = "champion"


async def retry(
    uow: UnitOfWork,
    record: DeploymentRecord,
    request: OperatorRequest,
    cause: Cause | None = None,
) -> None:
    """A new attempt of a version whose deployment has ended, through all its gates.

    It follows from `cause`, where there is one. What was asked for before it ends.
    """
    old = record.deployment
    records = await Deployments(uow.connection).of_model(*old.model_key)
    if old.state in IN_FLIGHT:
        raise ConflictError(_is_on_its_way(record, records))
    if _serving(records, old.version):
        raise ConflictError(f"{old.model} version {old.version} is champion already")
    _require_newest_attempt(records, old)
    _require_no_other_traffic(records, old)
    fresh = service.new_record(
        record.registered, old.environment, cause or record.cause, old.attempt + 1
    )
    why = f"wanted again by {request}"
    deployment = replace(fresh.deployment, why=why)
    if old.staged:
        deployment = replace(
            deployment,
            staged=True,
            staged_against=old.staged_against,
            served=old.served,
            sandbox=old.sandbox,
        )
    checks = without_canary_checks(record).checks
    again = replace(fresh, deployment=deployment, checks=checks, report=record.report)
    await service.start_attempt(uow, again, request.by)
    if old.staged:
        await service.advance(uow, again, DeploymentState.VALIDATED, why, by=request.by)
    await void_requests(uow, deployment, why)


async def newest_attempt(uow: UnitOfWork, record: DeploymentRecord) -> DeploymentRecord:
    """The latest attempt of a deployment's version, which may be the deployment itself."""
    records = await Deployments(uow.connection).of_model(*record.deployment.model_key)
    return _newest(records, record.deployment.version) or record


async def request_champion(
    uow: UnitOfWork, environment: str, requested: PromotionRequested, cause: Cause | None = None
) -> None:
    """Somebody set the alias `champion`: that version goes its way through its gates, or not.

    What is impossible now is refused by an event that says why; nothing waits for a better time.
    Of two such requests the later one holds, also where its version serves or is on its way.
    NotFoundError while the version has not been heard of, so that its event may still come.
    """
    request = OperatorRequest(requested.by, f"alias {CHAMPION} set to version {requested.version}")
    await service.lock_model(uow, environment, requested.model_id)
    records = await Deployments(uow.connection).of_model(environment, requested.model_id)
    mine = _newest(records, requested.version)
    if mine is None:
        name = f"{requested.model} version {requested.version}"
        raise NotFoundError(f"{name} was never registered here")
    wanted = _serving(records, requested.version) or mine.deployment
    if wanted.champion or wanted.state is DeploymentState.PROMOTING:
        await void_requests(uow, wanted, f"wanted by {request}")
        return
    try:
        await retry(uow, mine, request, cause)
    except ConflictError as error:
        await _refuse(uow, wanted, request.by, str(error))
        if wanted.state in IN_FLIGHT:
            await void_requests(uow, wanted, f"wanted by {request}")


async def void_requests(uow: UnitOfWork, decided: Deployment, why: str) -> bool:
    """What was asked for before holds no longer: a later decision was made of the model.

    Other attempts that people asked for and older versions end, and newer ones that were registered
    are not let past canary or windows, unless they have traffic. False where nothing was so.
    """
    later = f"a later decision is for version {decided.version}: {why}"
    voided = False
    for other in await Deployments(uow.connection).of_model(*decided.model_key):
        deployment = other.deployment
        if deployment.id == decided.id or not deployment.supersedable:
            continue
        if deployment.attempt > 1 or deployment.version < decided.version:
            await service.supersede(uow, other, later)
        elif skipped := deployment.gates.keys() & {Gate.CANARY, Gate.WINDOW}:
            names = " and its ".join(sorted(skipped))
            await _void_skips(uow, other, f"its {names} is no longer skipped, since {later}")
        else:
            continue
        voided = True
    await route_revisions.publish_aliases(uow, *decided.model_key)
    return voided


async def _void_skips(uow: UnitOfWork, record: DeploymentRecord, why: str) -> None:
    skipped = (Gate.CANARY, Gate.WINDOW)
    gates = {gate: how for gate, how in record.deployment.gates.items() if gate not in skipped}
    asked_again = replace(record.deployment, gates=gates, why=why, state_since=clock.now())
    await service.save_state(uow, record, asked_again)


def _is_on_its_way(record: DeploymentRecord, records: Sequence[DeploymentRecord]) -> str:
    """What the version is at, and what a person can do about that whatever may be skipped."""
    deployment = record.deployment
    version = f"{deployment.model} version {deployment.version}"
    at = f"{version} is on its way already: {deployment.state}, {deployment.why}"
    at += f"; {deployment.waits}" if deployment.waits else ""
    serving = next((r.deployment.version for r in records if r.deployment.champion), None)
    offered = offers(deployment, record.policy, serving, clock.now(), skippable=())
    return f"{at}; {' or '.join(offer.verb for offer in offered)} it" if offered else at


async def _refuse(uow: UnitOfWork, deployment: Deployment, by: str, why: str) -> None:
    log.warning("deployer.promotion-refused", version=deployment.subject, by=by, why=why)
    names = event_fields(deployment)
    del names["deployment_id"]
    refused = PromotionRefused(**names, by=by, why=why)
    await uow.emit(refused, key=deployment.key, subject=deployment.subject)


def _serving(records: Sequence[DeploymentRecord], version: int) -> Deployment | None:
    """The version's attempt that is champion: after an undo it is not always the newest."""
    mine = (r.deployment for r in records if r.deployment.version == version)
    return next((deployment for deployment in mine if deployment.champion), None)


def _newest(records: Sequence[DeploymentRecord], version: int) -> DeploymentRecord | None:
    """The latest attempt of a version, of a model's records as the repository sorts them."""
    return next((r for r in records if r.deployment.version == version), None)


def _require_newest_attempt(records: Sequence[DeploymentRecord], mine: Deployment) -> None:
    newest = _newest(records, mine.version)
    if newest is not None and newest.deployment.id != mine.id:
        raise ConflictError(
            f"attempt {mine.attempt} of version {mine.version} was followed by attempt "
            f"{newest.deployment.attempt}, which is {newest.deployment.state}"
        )


def _require_no_other_traffic(records: Sequence[DeploymentRecord], mine: Deployment) -> None:
    for other in (record.deployment for record in records):
        if other.id != mine.id and other.carries_traffic:
            raise ConflictError(
                f"version {other.version} is {other.state}; wait for its end or abort it first"
            )
