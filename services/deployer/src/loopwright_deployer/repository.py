"""Queries over deployments, their steps and routes; rows leave here as plain dataclasses."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_common.events import Arm, Check, ModelRegistered
from loopwright_common.policy import DeployPolicy
from loopwright_common.sql import upsert
from loopwright_common.unit_of_work import Cause
from loopwright_deployer.domain import IN_FLIGHT, Deployment, Served, State
from loopwright_deployer.rollout import Route
from loopwright_deployer.tables import canary_steps, deployments, routes, steps


@dataclass(frozen=True, slots=True)
class Record:
    """A deployment with what it is about and what came out of staging."""

    deployment: Deployment
    registered: ModelRegistered
    cause: Cause
    checks: tuple[Check, ...] = ()
    report: str | None = None

    @property
    def policy(self) -> DeployPolicy:
        return DeployPolicy.model_validate(self.registered.deploy or {})


@dataclass(frozen=True, slots=True)
class Step:
    """A state a deployment entered, when, why, and by whom where a person decided."""

    number: int
    state: State
    why: str
    by: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class RouteRow:
    environment: str
    model_id: str
    model: str
    route: Route
    changed_at: datetime


class Deployments:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, record: Record) -> bool:
        """False when this attempt is there already."""
        row = {"id": record.deployment.id, **_values(record)}
        return await upsert(self._connection, deployments, row)

    async def save(self, record: Record, was: Deployment) -> None:
        """ConflictError when the deployment is no longer in the state it was read in."""
        same = (
            deployments.c.id == was.id,
            deployments.c.state == was.state,
            deployments.c.step == was.step,
        )
        statement = sa.update(deployments).where(*same).values(**_values(record))
        if (await self._connection.execute(statement)).rowcount != 1:
            raise ConflictError(f"{was.subject} left state {was.state} meanwhile; look again")

    async def follow(self, deployment_id: str, cause: Cause) -> None:
        """What happens to the deployment from now on follows from `cause`."""
        this = deployments.c.id == deployment_id
        statement = sa.update(deployments).where(this).values(cause=cause.to_json())
        await self._connection.execute(statement)

    async def retire(self, deployment: Deployment) -> None:
        """The deployment's version is champion no more; its promotion stays on record."""
        this = deployments.c.id == deployment.id
        await self._connection.execute(sa.update(deployments).where(this).values(champion=False))

    async def restore(self, deployment: Deployment) -> None:
        """The deployment's version is champion again."""
        this = deployments.c.id == deployment.id
        await self._connection.execute(sa.update(deployments).where(this).values(champion=True))

    async def explain(self, deployment: Deployment, waits: str) -> None:
        """What the deployment waits for in its present state."""
        if waits != deployment.waits:
            this = deployments.c.id == deployment.id
            await self._connection.execute(sa.update(deployments).where(this).values(waits=waits))

    async def note(self, deployment: Deployment, by: str | None) -> None:
        """Append the present state to the deployment's story."""
        mine = steps.c.deployment_id == deployment.id
        number = await self._connection.scalar(sa.select(sa.func.count()).where(mine)) or 0
        await self._connection.execute(
            sa.insert(steps).values(
                deployment_id=deployment.id,
                number=number + 1,
                state=deployment.state,
                why=deployment.why,
                by=by,
                at=deployment.state_since,
            )
        )

    async def story(self, deployment_id: str) -> list[Step]:
        query = sa.select(steps).where(steps.c.deployment_id == deployment_id)
        rows = (await self._connection.execute(query.order_by(steps.c.number))).all()
        return [Step(r.number, State(r.state), r.why, r.by, r.at) for r in rows]

    async def get(self, deployment_id: str) -> Record:
        found = await self._where(deployments.c.id == deployment_id)
        if not found:
            raise NotFoundError(f"no deployment {deployment_id}")
        return found[0]

    async def in_flight(self) -> list[Record]:
        return await self._where(deployments.c.state.in_(sorted(IN_FLIGHT)))

    async def of_model(self, environment: str, model_id: str) -> list[Record]:
        """Newest version first, and of a version the newest attempt first."""
        return await self._where(
            deployments.c.environment == environment, deployments.c.model_id == model_id
        )

    async def of_model_named(self, environment: str, model: str) -> list[Record]:
        """As `of_model`; NotFoundError when nothing of that name was ever deployed."""
        found = await self._where(
            deployments.c.environment == environment, deployments.c.model == model
        )
        if not found:
            raise NotFoundError(f"no deployment of a model {model!r}")
        return found

    async def page(
        self, model: str | None, state: State | None, limit: int, skip: int
    ) -> list[Record]:
        """The newest first."""
        wanted = [deployments.c.model == model] if model else []
        wanted += [deployments.c.state == state] if state else []
        query = sa.select(deployments).where(*wanted)
        query = query.order_by(deployments.c.created_at.desc(), deployments.c.id)
        rows = (await self._connection.execute(query.limit(limit).offset(skip))).all()
        return [_record(row) for row in rows]

    async def champion(self, environment: str, model_id: str) -> Record | None:
        records = await self.of_model(environment, model_id)
        return next((r for r in records if r.deployment.champion), None)

    async def champions(self, environment: str, model_id: str) -> list[Record]:
        """Whatever is or was champion, the latest promotion first."""
        query = sa.select(deployments).where(
            deployments.c.environment == environment,
            deployments.c.model_id == model_id,
            deployments.c.promoted_at.is_not(None),
        )
        newest = query.order_by(deployments.c.promoted_at.desc())
        return [_record(row) for row in (await self._connection.execute(newest)).all()]

    async def _where(self, *wanted: sa.ColumnElement[bool]) -> list[Record]:
        query = sa.select(deployments).where(*wanted)
        newest = query.order_by(deployments.c.version.desc(), deployments.c.attempt.desc())
        return [_record(row) for row in (await self._connection.execute(newest)).all()]


class Routes:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, environment: str, model_id: str) -> RouteRow | None:
        mine = (routes.c.environment == environment, routes.c.model_id == model_id)
        row = (await self._connection.execute(sa.select(routes).where(*mine))).one_or_none()
        return _route(row) if row else None

    async def all(self) -> list[RouteRow]:
        rows = (await self._connection.execute(sa.select(routes).order_by(routes.c.model))).all()
        return [_route(row) for row in rows]

    async def put(self, row: RouteRow, routing_key: str | None) -> None:
        values = {
            "environment": row.environment,
            "model_id": row.model_id,
            "model": row.model,
            "revision": row.route.revision,
            "arms": [arm.model_dump() for arm in row.route.arms],
            "kept": [arm.model_dump() for arm in row.route.kept],
            "routing_key": routing_key,
            "changed_at": row.changed_at,
        }
        changes = tuple(name for name in values if name not in ("environment", "model_id"))
        await upsert(self._connection, routes, values, update=changes)

    async def remember_step(self, deployment_id: str, revision: int, step: int) -> None:
        """Evidence of a canary step is that of its revision."""
        row = {"deployment_id": deployment_id, "revision": revision, "step": step}
        await upsert(self._connection, canary_steps, row, update=("step",))

    async def revisions_of(self, deployment_id: str) -> Sequence[int]:
        """Revisions of a deployment's canary steps, oldest first."""
        mine = canary_steps.c.deployment_id == deployment_id
        query = sa.select(canary_steps.c.revision).where(mine).order_by(canary_steps.c.revision)
        return (await self._connection.scalars(query)).all()


def _values(record: Record) -> dict[str, Any]:
    values = asdict(record.deployment)
    served = values.pop("served")
    del values["id"]
    return {
        **values,
        "serving_digest": served["digest"] if served else None,
        "serving_format": served["format"] if served else None,
        "registered": record.registered.model_dump(mode="json"),
        "cause": record.cause.to_json(),
        "checks": [check.model_dump() for check in record.checks],
        "report": record.report,
    }


def _record(row: Row[Any]) -> Record:
    names = set(Deployment.__slots__) - {"served"}
    stored = {name: value for name, value in row._mapping.items() if name in names}
    served = (
        Served(row.version, row.serving_digest, row.serving_format) if row.serving_digest else None
    )
    deployment = replace(
        Deployment(**stored, served=served),
        state=State(row.state),
        paused_from=State(row.paused_from) if row.paused_from else None,
    )
    return Record(
        deployment,
        ModelRegistered.model_validate(row.registered),
        Cause.from_json(row.cause),
        tuple(Check.model_validate(check) for check in row.checks),
        row.report,
    )


def _route(row: Row[Any]) -> RouteRow:
    arms = tuple(Arm.model_validate(arm) for arm in row.arms)
    others = tuple(Arm.model_validate(arm) for arm in row.kept)
    route = Route(row.revision, arms, others)
    return RouteRow(row.environment, row.model_id, row.model, route, row.changed_at)
