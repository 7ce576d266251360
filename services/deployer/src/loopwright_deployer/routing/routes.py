"""What each model's traffic meets: its present route, and the revisions of its canary's steps."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import in_values, upsert
from loopwright_common.deploy_policy import RecordPolicy
from loopwright_common.errors import ConflictError
from loopwright_common.events import Arm
from loopwright_deployer.canary.decisions import RouteRevision
from loopwright_deployer.deployments.domain import IN_FLIGHT, ModelKey
from loopwright_deployer.deployments.tables import canary_steps, deployments, of_models, routes


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route and since when it holds; `routing_key` names the input that callers stick by."""

    environment: str
    model_id: str
    model: str
    route: RouteRevision
    routing_key: str | None
    changed_at: datetime
    aliases: Mapping[str, int] = field(default_factory=dict)
    record: RecordPolicy | None = None

    @property
    def key(self) -> str:
        return f"{self.environment}/{self.model_id}"


class RouteRevisions:
    """Queries over the present route of each model and the revisions of canary steps."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, environment: str, model_id: str) -> RouteRow | None:
        mine = (routes.c.environment == environment, routes.c.model_id == model_id)
        row = (await self._connection.execute(sa.select(routes).where(*mine))).one_or_none()
        return _route_row(row) if row else None

    async def of_models(self, models: Collection[ModelKey]) -> dict[ModelKey, RouteRow]:
        """The routes of those models that have one."""
        query = sa.select(routes).where(of_models(self._connection, routes, models))
        rows = (await self._connection.execute(query)).all()
        return {(row.environment, row.model_id): _route_row(row) for row in rows}

    async def published(self, models: Collection[ModelKey]) -> dict[ModelKey, tuple[int, datetime]]:
        """The present revision of each of the models that has a route, and since when it is."""
        columns = (routes.c.environment, routes.c.model_id, routes.c.revision, routes.c.changed_at)
        query = sa.select(*columns).where(of_models(self._connection, routes, models))
        rows = (await self._connection.execute(query)).all()
        return {(r.environment, r.model_id): (r.revision, r.changed_at) for r in rows}

    async def all(self) -> list[RouteRow]:
        rows = (await self._connection.execute(sa.select(routes).order_by(routes.c.model))).all()
        return [_route_row(row) for row in rows]

    async def save(self, row: RouteRow) -> None:
        """ConflictError unless its revision is higher than that of the route there is."""
        values = {
            "environment": row.environment,
            "model_id": row.model_id,
            "model": row.model,
            "revision": row.route.revision,
            "arms": [arm.model_dump() for arm in row.route.arms],
            "kept": [arm.model_dump() for arm in row.route.kept],
            "routing_key": row.routing_key,
            "changed_at": row.changed_at,
            "aliases": dict(row.aliases),
            "record": row.record.model_dump() if row.record else None,
        }
        older = (
            routes.c.environment == row.environment,
            routes.c.model_id == row.model_id,
            routes.c.revision < row.route.revision,
        )
        replaced = await self._connection.execute(sa.update(routes).where(*older).values(**values))
        if replaced.rowcount == 0 and not await upsert(self._connection, routes, values):
            raise ConflictError(f"the route of {row.model} has revision {row.route.revision}")

    async def remember_step(self, deployment_id: str, revision: int, step: int) -> None:
        """Evidence of a canary step is that of its revision."""
        row = {"deployment_id": deployment_id, "revision": revision, "step": step}
        await upsert(self._connection, canary_steps, row, update=("step",))

    async def forget_steps(self, deployment_id: str) -> None:
        """Nothing that was counted in the canary's steps so far is evidence any more."""
        mine = canary_steps.c.deployment_id == deployment_id
        await self._connection.execute(sa.delete(canary_steps).where(mine))

    async def oldest_needed(self, environment: str, model_id: str) -> int | None:
        """The first revision of a canary step that a deployment in flight is still judged by."""
        query = (
            sa.select(sa.func.min(canary_steps.c.revision))
            .join(deployments, deployments.c.id == canary_steps.c.deployment_id)
            .where(
                deployments.c.environment == environment,
                deployments.c.model_id == model_id,
                deployments.c.state.in_(sorted(IN_FLIGHT)),
            )
        )
        oldest: int | None = await self._connection.scalar(query)
        return oldest

    async def revisions_of(self, deployment_ids: Sequence[str]) -> dict[str, list[int]]:
        """Revisions of each deployment's canary steps, oldest first."""
        these = in_values(self._connection, canary_steps.c.deployment_id, deployment_ids)
        query = sa.select(canary_steps).where(these).order_by(canary_steps.c.revision)
        found: dict[str, list[int]] = {each: [] for each in deployment_ids}
        for row in (await self._connection.execute(query)).all():
            found[row.deployment_id].append(row.revision)
        return found


def _route_row(row: Row[Any]) -> RouteRow:
    arms = tuple(Arm.model_validate(arm) for arm in row.arms)
    others = tuple(Arm.model_validate(arm) for arm in row.kept)
    route = RouteRevision(row.revision, arms, others)
    names = (row.environment, row.model_id, row.model)
    record = RecordPolicy.model_validate(row.record) if row.record else None
    return RouteRow(*names, route, row.routing_key, row.changed_at, row.aliases or {}, record)
