"""The next revision of a model's route: its arms, what stays loaded, and what can be named."""

from collections.abc import Mapping, Sequence

from loopwright_common import clock
from loopwright_common.database.unit_of_work import Cause, UnitOfWork
from loopwright_common.events import Arm, RoutesChanged
from loopwright_common.failpoints import failpoint
from loopwright_deployer.canary.counters import Counters
from loopwright_deployer.canary.decisions import Route, kept
from loopwright_deployer.deployments.aliases import Aliases
from loopwright_deployer.deployments.domain import Deployment, Served, State
from loopwright_deployer.deployments.repository import Deployments, Record
from loopwright_deployer.deployments.service import lock_model
from loopwright_deployer.routing.routes import RouteRow, Routes


async def change_route(uow: UnitOfWork, record: Record, arms: Sequence[Arm]) -> Route:
    """The next revision of the model's route, told in the same transaction."""
    deployment = record.deployment
    old = await Routes(uow.connection).get(deployment.environment, deployment.model_id)
    row = await _next(uow, record, old, arms, await _named(uow, deployment))
    await _put(uow, row, record.cause)
    return row.route


async def name_versions(uow: UnitOfWork, environment: str, model_id: str) -> None:
    """Tell a new revision where the aliases name other versions than the route says.

    The evidence of a canary's step goes on in it.
    """
    await lock_model(uow, environment, model_id)
    old = await Routes(uow.connection).get(environment, model_id)
    record = await _leading(uow, environment, model_id)
    if old is None or record is None:
        return
    named = await _named(uow, record.deployment)
    if _versions(named) == old.aliases:
        return
    row = await _next(uow, record, old, old.route.arms, named)
    await _put(uow, row, uow.cause or record.cause)
    if _is_canary(deployment := record.deployment):
        routes = Routes(uow.connection)
        await routes.remember_step(deployment.id, row.route.revision, deployment.step)


async def repeat_route(uow: UnitOfWork, missed: RouteRow) -> None:
    """Tell the route once more, unless there is a newer one, to replicas that missed it."""
    await lock_model(uow, missed.environment, missed.model_id)
    row = await Routes(uow.connection).get(missed.environment, missed.model_id)
    if row is not None and row.route.revision == missed.route.revision:
        await _tell(uow, row)


def served_of(record: Record) -> Served:
    served = record.deployment.served
    assert served is not None  # noqa: S101  (nothing has traffic without a serving package)
    return served


async def _next(
    uow: UnitOfWork,
    record: Record,
    old: RouteRow | None,
    arms: Sequence[Arm],
    named: Mapping[str, Served],
) -> RouteRow:
    deployment = record.deployment
    place = (deployment.environment, deployment.model_id)
    former = [served_of(r) for r in await Deployments(uow.connection).champions(*place)]
    return RouteRow(
        *place,
        deployment.model,
        Route(
            old.route.revision + 1 if old else 1,
            tuple(arms),
            kept(former, arms, record.policy.keep, list(named.values())),
        ),
        record.policy.routing_key,
        clock.now(),
        _versions(named),
        record.policy.record,
    )


async def _put(uow: UnitOfWork, row: RouteRow, cause: Cause) -> None:
    await Routes(uow.connection).put(row)
    await Counters(uow.connection).forget_before(row.environment, row.model_id, row.route.revision)
    failpoint("deployer.routed")
    uow.follow(cause, "deployer")
    await _tell(uow, row, identity=f"route/{row.key}/{row.route.revision}")


async def _tell(uow: UnitOfWork, row: RouteRow, identity: str | None = None) -> None:
    told = RoutesChanged(
        environment=row.environment,
        model_id=row.model_id,
        model=row.model,
        revision=row.route.revision,
        arms=list(row.route.arms),
        kept=list(row.route.kept),
        routing_key=row.routing_key,
        aliases=dict(row.aliases),
        record=row.record,
    )
    await uow.emit(told, key=row.key, subject=f"models/{row.model}", identity=identity)


async def _named(uow: UnitOfWork, deployment: Deployment) -> dict[str, Served]:
    """Serving packages by alias; what staging has not let pass cannot be named."""
    place = (deployment.environment, deployment.model_id)
    versions = await Aliases(uow.connection, *place).all()
    if not versions:
        return {}
    staged = {
        found.version: found.served
        for record in await Deployments(uow.connection).of_model(*place)
        if (found := record.deployment).staged and found.served
    }
    return {alias: staged[version] for alias, version in versions.items() if version in staged}


async def _leading(uow: UnitOfWork, environment: str, model_id: str) -> Record | None:
    """The deployment whose policy the route has: the one under way, else the champion's."""
    records = await Deployments(uow.connection).of_model(environment, model_id)
    under_way = next((r for r in records if r.deployment.carries_traffic), None)
    return under_way or next((r for r in records if r.deployment.champion), None)


def _versions(named: Mapping[str, Served]) -> dict[str, int]:
    return {alias: served.version for alias, served in named.items()}


def _is_canary(deployment: Deployment) -> bool:
    return State.CANARY in (deployment.state, deployment.paused_from)
