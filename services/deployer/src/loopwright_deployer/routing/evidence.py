"""What canaries' decisions go by, collected from the database and the replicas' reports."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.errors import NotFoundError
from loopwright_common.events import ReplicaReported
from loopwright_deployer.canary.acknowledgement import (
    Acknowledgement,
    PublishedRevision,
    acknowledgement,
)
from loopwright_deployer.canary.call_counts import count_step
from loopwright_deployer.canary.counters import CanaryCounters, CounterTotals
from loopwright_deployer.canary.decisions import CanaryEvidence
from loopwright_deployer.deployments.domain import DeploymentState, DeploymentStatus, ModelKey
from loopwright_deployer.deployments.gates import Gate
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.routing.routes import RouteRevisions

Published = Mapping[ModelKey, tuple[int, datetime]]


@dataclass(frozen=True, slots=True)
class Situation:
    """All that what to do about a version with traffic goes by, but the time and its own past.

    While it is the same and no deadline has come, there is nothing new to decide.
    """

    state: DeploymentState
    deadline: datetime | None
    is_late: bool
    revision: int | None
    counted: CounterTotals | None
    acknowledgement: Acknowledgement | None


async def situations(
    connection: AsyncConnection,
    flying: Iterable[DeploymentStatus],
    reports: Collection[ReplicaReported],
) -> dict[str, Situation]:
    """The situation of each deployment with traffic, by its id: cheap, also of very many."""
    carrying = [one for one in flying if one.carries_traffic]
    if not carrying:
        return {}
    models = {one.model_key for one in carrying}
    published = await RouteRevisions(connection).published(models)
    totals = await CanaryCounters(connection).totals(models)
    now = clock.now()
    return {
        one.id: Situation(
            state=one.state,
            deadline=one.deadline,
            is_late=one.deadline is not None and one.deadline <= now,
            revision=published.get(one.model_key, (None,))[0],
            counted=totals.get(one.model_key),
            acknowledgement=_acknowledgement(one, published, reports, now),
        )
        for one in carrying
    }


async def collect_evidence(
    connection: AsyncConnection,
    records: Sequence[DeploymentRecord],
    reports: Collection[ReplicaReported],
) -> list[CanaryEvidence | Exception]:
    """The evidence of each canary, in order; it holds as long as the deployment has not moved.

    NotFoundError is that of one without a route.
    """
    models = {record.deployment.model_key for record in records}
    ids = [record.deployment.id for record in records]
    routes = RouteRevisions(connection)
    published, revisions = await routes.published(models), await routes.revisions_of(ids)
    champions = await Deployments(connection).champion_versions(models)
    counters = await CanaryCounters(connection).of_models(models)
    now = clock.now()
    found: list[CanaryEvidence | Exception] = []
    for one in (record.deployment for record in records):
        answer = _acknowledgement(one, published, reports, now)
        if answer is None:
            found.append(_no_route(one))
            continue
        counted, champion = counters.get(one.model_key, {}), champions.get(one.model_key, 0)
        found.append(
            CanaryEvidence(
                steps=[count_step(counted, r, one.version, champion) for r in revisions[one.id]],
                acknowledgement=answer,
                deadline=one.deadline,
                now=now,
                skips_windows=Gate.WINDOW in one.gates,
            )
        )
    return found


async def acknowledgement_of(
    connection: AsyncConnection, one: DeploymentStatus, reports: Collection[ReplicaReported]
) -> Acknowledgement:
    """What the replicas say of the model's present route; NotFoundError without one."""
    published = await RouteRevisions(connection).published([one.model_key])
    answer = _acknowledgement(one, published, reports, clock.now())
    if answer is None:
        raise _no_route(one)
    return answer


def _acknowledgement(
    one: DeploymentStatus,
    published: Published,
    reports: Collection[ReplicaReported],
    now: datetime,
) -> Acknowledgement | None:
    """None without a route."""
    if (route := published.get(one.model_key)) is None:
        return None
    revision, since = route
    wanted = PublishedRevision(*one.model_key, revision, since, one.version)
    return acknowledgement(wanted, reports, now)


def _no_route(one: DeploymentStatus) -> NotFoundError:
    return NotFoundError(f"no route of the model of {one.model_id}")
