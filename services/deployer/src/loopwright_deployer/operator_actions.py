"""What people may do to a deployment; what is impossible is a ConflictError that says why."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from loopwright_common import clock
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_common.events import AliasChanged
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import (
    BEFORE_CANARY,
    IN_FLIGHT,
    PAUSABLE,
    PROMOTABLE,
    State,
    move,
    require,
    require_staged,
)
from loopwright_deployer.deployments.repository import Deployments, Record
from loopwright_deployer.routing import transitions

log = structlog.get_logger()
CHAMPION = "champion"


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants it and why."""

    by: str
    reason: str

    def __str__(self) -> str:
        return f"{self.by}: {self.reason}" if self.reason else self.by


Action = Callable[[UnitOfWork, Record, Wish], Awaitable[object]]


async def approve(uow: UnitOfWork, record: Record, wish: Wish) -> None:
    require(record.deployment, frozenset({State.APPROVAL}), "approve")
    moved = move(record.deployment, State.VALIDATED, f"approved by {wish}", clock.now())
    await service.store(uow, record, replace(moved, approved=True), wish.by)


async def reject(uow: UnitOfWork, record: Record, wish: Wish) -> None:
    require(record.deployment, BEFORE_CANARY, "reject")
    if record.deployment.carries_traffic:
        raise ConflictError("it has traffic already: abort takes it out of the route")
    await service.reject(uow, record, f"rejected by {wish}", wish.by)


async def pause(uow: UnitOfWork, record: Record, wish: Wish) -> None:
    require(record.deployment, PAUSABLE, "pause")
    await transitions.pause(uow, record, f"paused by {wish}", wish.by)


async def resume(uow: UnitOfWork, record: Record, wish: Wish) -> None:
    """Go on where it stood; a canary gets its whole time anew."""
    require(record.deployment, frozenset({State.PAUSED}), "resume")
    canary = record.deployment.paused_from is State.CANARY
    deadline = clock.now() + record.policy.canary.max_time if canary else None
    to = State.CANARY if canary else State.VALIDATED
    await service.advance(uow, record, to, f"resumed by {wish}", by=wish.by, deadline=deadline)


async def promote(uow: UnitOfWork, record: Record, wish: Wish) -> None:
    """Skip what is left of the gates and the canary, never staging."""
    require(record.deployment, PROMOTABLE, "promote")
    require_staged(record.deployment)
    await _nothing_in_the_way(uow, record)
    await transitions.promote(uow, record, f"promoted by {wish}", wish.by)


async def abort(uow: UnitOfWork, record: Record, wish: Wish) -> None:
    """End it now; a canary leaves the route at once."""
    require(record.deployment, IN_FLIGHT, "abort")
    had_traffic = record.deployment.carries_traffic
    moved = await service.advance(uow, record, State.ABORTED, f"aborted by {wish}", by=wish.by)
    if had_traffic:
        await transitions.withdraw(uow, moved)
    await service.finish(uow, moved, "aborted")


ACTIONS: Mapping[str, Action] = {
    "approve": approve,
    "reject": reject,
    "pause": pause,
    "resume": resume,
    "promote": promote,
    "abort": abort,
}


async def undo(uow: UnitOfWork, environment: str, model: str, wish: Wish) -> Record:
    """Back to the champion before this one, at once; whatever has a canary share is aborted."""
    deployments = Deployments(uow.connection)
    model_id = (await deployments.of_model_named(environment, model))[0].deployment.model_id
    place = (environment, model_id)
    await service.lock_model(uow, *place)
    records = await deployments.of_model(*place)
    former = [r for r in await deployments.champions(*place) if _may_return(r)]
    champion = next((r for r in records if r.deployment.champion), None)
    if champion is None or not former:
        raise ConflictError(f"{model} has no former champion to go back to")
    for record in records:
        if record.deployment.carries_traffic:
            await abort(uow, record, wish)
    why = f"undone by {wish}; back to version {former[0].deployment.version}"
    undone = await service.advance(uow, champion, State.ROLLED_BACK, why, by=wish.by)
    await deployments.restore(former[0].deployment)
    await transitions.withdraw(uow, undone)
    return await transitions.tell_rolled_back(uow, undone, former[0].deployment.version)


async def wish_for_champion(uow: UnitOfWork, environment: str, told: AliasChanged) -> None:
    """Somebody set the alias `champion`: promote that version under the platform's minimum.

    NotFoundError while the version has not been heard of, so that its event may still come.
    """
    wish = Wish(told.by, f"alias {CHAMPION} set to version {told.version}")
    await service.lock_model(uow, environment, told.model_id)
    records = await Deployments(uow.connection).of_model(environment, told.model_id)
    mine = [r for r in records if r.deployment.version == told.version]
    if not mine:
        raise NotFoundError(f"{told.model} version {told.version} was never registered here")
    record = mine[0]
    deployment = record.deployment
    if deployment.champion or deployment.state is State.PROMOTING:
        return
    if deployment.state not in IN_FLIGHT:
        await _again(uow, record, wish)
    elif deployment.staged:
        await promote(uow, record, wish)
    else:
        await service.store(uow, record, replace(deployment, forced=str(wish)), wish.by)


async def _again(uow: UnitOfWork, record: Record, wish: Wish) -> None:
    """A new attempt of a version whose deployment has ended, straight to champion once staged."""
    old = record.deployment
    if old.state is State.REJECTED and not old.staged:
        log.warning("deployer.refused", version=old.subject, wish=str(wish), why=old.why)
        return
    fresh = service.new_record(record.registered, old.environment, record.cause, old.attempt + 1)
    deployment = replace(
        fresh.deployment,
        forced=str(wish),
        why=f"wanted by {wish}",
        staged=old.staged,
        served=old.served,
    )
    again = replace(fresh, deployment=deployment, checks=record.checks, report=record.report)
    await Deployments(uow.connection).add(again)
    await Deployments(uow.connection).note(deployment, wish.by)
    if old.staged:
        await service.advance(uow, again, State.VALIDATED, deployment.why, by=wish.by)


async def _nothing_in_the_way(uow: UnitOfWork, record: Record) -> None:
    mine = record.deployment
    for other in await Deployments(uow.connection).of_model(mine.environment, mine.model_id):
        if other.deployment.id != mine.id and other.deployment.carries_traffic:
            raise ConflictError(
                f"version {other.deployment.version} is {other.deployment.state}; abort it first"
            )


def _may_return(record: Record) -> bool:
    return record.deployment.state is State.PROMOTED and not record.deployment.champion
