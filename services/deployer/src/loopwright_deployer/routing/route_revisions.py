"""The next revision of a model's route: its arms, what stays loaded, and what can be named."""

from collections.abc import Mapping, Sequence

from loopwright_common import clock
from loopwright_common.database import Cause, UnitOfWork
from loopwright_common.events import Arm, RoutesChanged
from loopwright_common.failpoints import failpoint
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.canary.decisions import RouteRevision, kept_arms
from loopwright_deployer.canary.frozen import is_frozen
from loopwright_deployer.deployments.aliases import ModelAliases
from loopwright_deployer.deployments.domain import (
    Deployment,
    DeploymentState,
    ModelKey,
    ServedPackage,
    require_staged,
)
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.deployments.service import lock_model
from loopwright_deployer.routing.routes import RouteRevisions, RouteRow


async def publish_route(
    uow: UnitOfWork, record: DeploymentRecord, arms: Sequence[Arm]
) -> RouteRevision:
    """The next revision of the model's route, emitted in the same transaction.

    ConflictError where the model's route has that revision already.
    """
    deployment = record.deployment
    old = await RouteRevisions(uow.connection).get(*deployment.model_key)
    row = await _next_revision(uow, record, old, arms, await _packages_by_alias(uow, deployment))
    await _save_and_emit(uow, row, record.cause)
    return row.route


async def publish_aliases(uow: UnitOfWork, environment: str, model_id: str) -> None:
    """Tell a new revision where other versions are named, or frozen, than the route says.

    The evidence of a canary's step goes on in it.
    """
    await lock_model(uow, environment, model_id)
    old = await RouteRevisions(uow.connection).get(environment, model_id)
    record = await _policy_owner(uow, environment, model_id)
    if old is None or record is None:
        return
    named = await _packages_by_alias(uow, record.deployment)
    if _versions_by_alias(named) == old.aliases and not await _is_stale(uow, old):
        return
    row = await _next_revision(uow, record, old, old.route.arms, named)
    await _save_and_emit(uow, row, uow.cause or record.cause)
    if _is_canary(deployment := record.deployment):
        routes = RouteRevisions(uow.connection)
        await routes.remember_step(deployment.id, row.route.revision, deployment.step)


async def republish_route(uow: UnitOfWork, missed: RouteRow) -> None:
    """Tell the route once more, unless there is a newer one, to replicas that missed it."""
    await lock_model(uow, missed.environment, missed.model_id)
    row = await RouteRevisions(uow.connection).get(missed.environment, missed.model_id)
    if row is not None and row.route.revision == missed.route.revision:
        await _emit(uow, row)


def served_package(record: DeploymentRecord) -> ServedPackage:
    """What scorers are to load of the version.

    They open it in their own process, so ConflictError unless staging, in a confined one, has
    opened these very bytes.
    """
    served = record.deployment.served
    require_staged(record.deployment)
    assert served is not None  # noqa: S101  (staging is of a serving package)
    return served


async def _next_revision(
    uow: UnitOfWork,
    record: DeploymentRecord,
    old: RouteRow | None,
    arms: Sequence[Arm],
    named: Mapping[str, ServedPackage],
) -> RouteRow:
    deployment = record.deployment
    model = deployment.model_key
    champions = await Deployments(uow.connection).champions(*model)
    # What was taken back is nothing that anybody goes back to before the others.
    champions.sort(key=lambda each: each.deployment.state is DeploymentState.ROLLED_BACK)
    former = [served_package(each) for each in champions]
    frozen = await _frozen_packages(uow, model)
    return RouteRow(
        *model,
        deployment.model,
        RouteRevision(
            old.route.revision + 1 if old else 1,
            tuple(arms),
            kept_arms(former, arms, record.policy.keep, [*named.values(), *frozen]),
        ),
        record.policy.routing_key,
        clock.now(),
        _versions_by_alias(named),
        record.policy.record,
    )


async def _save_and_emit(uow: UnitOfWork, row: RouteRow, cause: Cause) -> None:
    await RouteRevisions(uow.connection).save(row)
    await _drop_counters(uow, row)
    failpoint("deployer.routed")
    uow.follow(cause, "deployer")
    await _emit(uow, row, identity=f"route/{row.key}/{row.route.revision}")


async def _drop_counters(uow: UnitOfWork, row: RouteRow) -> None:
    """Drop those of revisions long ago, but none that a canary still has for evidence."""
    model = (row.environment, row.model_id)
    oldest = await RouteRevisions(uow.connection).oldest_needed(*model)
    needed = row.route.revision if oldest is None else oldest
    await CanaryCounters(uow.connection).delete_before(*model, needed)


async def _emit(uow: UnitOfWork, row: RouteRow, identity: str | None = None) -> None:
    changed = RoutesChanged(
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
    await uow.emit(changed, key=row.key, subject=f"models/{row.model}", identity=identity)


async def _packages_by_alias(uow: UnitOfWork, deployment: Deployment) -> dict[str, ServedPackage]:
    """Serving packages by alias; what staging has not let pass cannot be named."""
    model = deployment.model_key
    versions = await ModelAliases(uow.connection, *model).all()
    if not versions:
        return {}
    staged = {
        other.version: other.served
        for record in await Deployments(uow.connection).of_model(*model)
        if (other := record.deployment).staged and other.served
    }
    return {alias: staged[version] for alias, version in versions.items() if version in staged}


async def _frozen_packages(uow: UnitOfWork, model: ModelKey) -> list[ServedPackage]:
    """Serving packages of what is looked at by people, though it has no traffic."""
    paused = await Deployments(uow.connection).paused(*model)
    return [served_package(record) for record in paused if is_frozen(record)]


async def _is_stale(uow: UnitOfWork, row: RouteRow) -> bool:
    """Whether a version is loaded that was frozen and no longer is."""
    model = (row.environment, row.model_id)
    champions = await Deployments(uow.connection).champions(*model)
    wanted = {record.deployment.version for record in champions} | set(row.aliases.values())
    wanted |= {package.version for package in await _frozen_packages(uow, model)}
    return not {arm.version for arm in row.route.kept} <= wanted


async def _policy_owner(
    uow: UnitOfWork, environment: str, model_id: str
) -> DeploymentRecord | None:
    """The deployment whose policy the route has: the one under way, else the champion's."""
    records = await Deployments(uow.connection).of_model(environment, model_id)
    under_way = next((r for r in records if r.deployment.carries_traffic), None)
    return under_way or next((r for r in records if r.deployment.champion), None)


def _versions_by_alias(named: Mapping[str, ServedPackage]) -> dict[str, int]:
    return {alias: served.version for alias, served in named.items()}


def _is_canary(deployment: Deployment) -> bool:
    return DeploymentState.CANARY in (deployment.state, deployment.paused_from)
