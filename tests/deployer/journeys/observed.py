"""What can be observed from outside after a step: deployments, route, and what was emitted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import outbox
from loopwright_deployer.deployments.domain import Deployment, DeploymentState
from loopwright_deployer.deployments.repository import Deployments
from loopwright_deployer.routing.routes import RouteRevisions

ENVIRONMENT = "production"
S = DeploymentState
ENDS = frozenset({S.PROMOTED, S.REJECTED, S.ROLLED_BACK, S.SUPERSEDED, S.ABORTED})


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that was tried, by whom of the drivers, on which deployment, and what became of it.

    `outcome` is `done`, `refused`, `killed` or `nothing`; `verdict` is that of staging, a canary
    or the replicas, `against` the version that served when staging began, `seen` the deployment
    that a worker went by; `again` is an event that had come before.
    """

    kind: str
    deployment: str | None = None
    version: int | None = None
    outcome: str = "done"
    verdict: str | None = None
    against: int | None = None
    seen: Deployment | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event as the bus gets it."""

    topic: str
    key: str
    id: str
    chain: str
    causes: tuple[str, ...]
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model's deployments by id, its route, what scorers load beside it, and what has a name."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    revision: int = 0
    weights: Mapping[int, float] = field(default_factory=dict)
    arms: int = 0
    loaded: frozenset[int] = frozenset()
    named: frozenset[int] = frozenset()

    def in_flight(self, version: int) -> list[Deployment]:
        """Attempts of a version that have not ended."""
        mine = (d for d in self.deployments.values() if d.version == version)
        return [d for d in mine if d.state not in ENDS]


async def look(database: Database, model_id: str) -> Snapshot:
    async with database.read() as connection:
        records = await Deployments(connection).of_model(ENVIRONMENT, model_id)
        row = await RouteRevisions(connection).get(ENVIRONMENT, model_id)
    found = {r.deployment.id: r.deployment for r in records}
    if row is None:
        return Snapshot(found)
    arms = row.route.arms
    weights = {arm.version: arm.weight for arm in arms}
    loaded = frozenset(arm.version for arm in row.route.kept)
    named = frozenset(row.aliases.values())
    return Snapshot(found, row.route.revision, weights, len(arms), loaded, named)


async def emitted_after(database: Database, position: int) -> tuple[int, list[Emitted]]:
    """What was emitted behind the position, and the position behind that."""
    query = sa.select(outbox).where(outbox.c.position > position).order_by(outbox.c.position)
    async with database.read() as connection:
        rows: Sequence[Any] = (await connection.execute(query)).all()
    events = [
        Emitted(
            row.aggregatetype,
            row.aggregateid,
            row.id,
            row.headers["ce_chainid"],
            tuple(row.headers.get("ce_causes", "").split()),
            json.loads(row.payload),
        )
        for row in rows
    ]
    return (rows[-1].position if rows else position), events


def version_of(snapshot: Snapshot, deployment_id: str | None) -> int | None:
    return snapshot.deployments[deployment_id].version if deployment_id else None


def as_told(deployment: Deployment) -> Deployment:
    """All of it but what changes without an event."""
    return replace(deployment, waits=None, retry_at=None)


def name_of(deployment: Deployment) -> str:
    return f"version {deployment.version} attempt {deployment.attempt} ({deployment.state})"
