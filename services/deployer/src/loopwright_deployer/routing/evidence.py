"""What a canary's decision goes by, collected from the database and the replicas' reports."""

from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.bus import TableReader
from loopwright_common.errors import NotFoundError
from loopwright_common.events import ReplicaReported
from loopwright_deployer.canary.acknowledgement import (
    Acknowledgement,
    PublishedRevision,
    acknowledgement,
)
from loopwright_deployer.canary.call_counts import count_step
from loopwright_deployer.canary.counters import CanaryCounters
from loopwright_deployer.canary.decisions import CanaryEvidence
from loopwright_deployer.deployments.gates import Gate
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.routing.routes import RouteRevisions


async def collect_evidence(
    connection: AsyncConnection,
    record: DeploymentRecord,
    replicas: TableReader[ReplicaReported],
) -> CanaryEvidence:
    """It holds as long as the deployment has not moved; NotFoundError without a route."""
    deployment = record.deployment
    revisions = await RouteRevisions(connection).revisions_of(deployment.id)
    champion = await Deployments(connection).champion(*deployment.model_key)
    counters = await CanaryCounters(connection).of_model(*deployment.model_key)
    other = champion.deployment.version if champion else 0
    return CanaryEvidence(
        steps=[count_step(counters, r, deployment.version, other) for r in revisions],
        acknowledgement=await acknowledgement_of(connection, record, replicas),
        deadline=deployment.deadline,
        now=clock.now(),
        skips_windows=Gate.WINDOW in deployment.gates,
    )


async def acknowledgement_of(
    connection: AsyncConnection,
    record: DeploymentRecord,
    replicas: TableReader[ReplicaReported],
) -> Acknowledgement:
    """What the replicas say of the model's present route; NotFoundError without one."""
    deployment = record.deployment
    row = await RouteRevisions(connection).get(*deployment.model_key)
    if row is None:
        raise NotFoundError(f"no route of {deployment.model}")
    published = PublishedRevision(
        row.environment, row.model_id, row.route.revision, row.changed_at, deployment.version
    )
    reports = [event.data for event in replicas.rows.values()]
    return acknowledgement(published, reports, clock.now())
