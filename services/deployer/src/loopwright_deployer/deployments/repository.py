"""Queries over deployments and their steps; rows leave here as plain dataclasses.

What changes a deployment raises ConflictError where another of its model is champion or under way.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import Cause, in_values, upsert
from loopwright_common.deploy_policy import DeployPolicy
from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_common.events import Check, ModelRegistered
from loopwright_common.policy_reader import PolicyError, read_policy
from loopwright_common.sandbox import Level
from loopwright_deployer.deployments.domain import (
    IN_FLIGHT,
    Deployment,
    DeploymentState,
    DeploymentStatus,
    ModelKey,
    ServedPackage,
    Standing,
)
from loopwright_deployer.deployments.retry_schedule import Outage
from loopwright_deployer.deployments.tables import deployments, of_models, steps


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """A deployment with what it is about and what came out of staging."""

    deployment: Deployment
    registered: ModelRegistered
    cause: Cause
    checks: tuple[Check, ...] = ()
    report: str | None = None

    @property
    def policy(self) -> DeployPolicy:
        """The version's, or the default where it cannot be read: such a version is rejected."""
        try:
            return read_policy(DeployPolicy, self.registered.deploy)
        except PolicyError:
            return DeployPolicy()

    @property
    def weight(self) -> float:
        """The version's share of the traffic, from 0 to 1."""
        deployment = self.deployment
        if deployment.champion or deployment.state is DeploymentState.PROMOTING:
            return 1.0
        return self.policy.canary.steps[deployment.step].weight if deployment.in_canary else 0.0

    @property
    def policy_fault(self) -> str | None:
        """What is wrong with the version's policy."""
        try:
            read_policy(DeployPolicy, self.registered.deploy)
        except PolicyError as error:
            return str(error)
        return None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A state a deployment entered, when, why, and by whom where a person decided."""

    number: int
    state: DeploymentState
    why: str
    by: str | None
    at: datetime


class Deployments:
    """Queries over deployments and their history, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, record: DeploymentRecord) -> bool:
        """False when this attempt is there already."""
        row = {"id": record.deployment.id, **_values(record)}
        return await upsert(self._connection, deployments, row)

    async def update(self, record: DeploymentRecord, was: Deployment) -> None:
        """ConflictError when the deployment is no longer in the state it was read in."""
        same = (
            deployments.c.id == was.id,
            deployments.c.state == was.state,
            deployments.c.step == was.step,
        )
        if not await self._update(same, _values(record)):
            raise ConflictError(f"{was.subject} left state {was.state} meanwhile; look again")

    async def set_cause(self, deployment_id: str, cause: Cause) -> None:
        """What happens to the deployment from now on follows from `cause`."""
        await self._update([deployments.c.id == deployment_id], {"cause": cause.to_json()})

    async def set_waiting_reason(self, deployment: DeploymentStatus, waits: str | None) -> None:
        """What the deployment waits for in its present state; None for nothing any more."""
        if waits != deployment.waits:
            await self._update([deployments.c.id == deployment.id], {"waits": waits})

    async def standings(self, deployment_ids: Sequence[str]) -> dict[str, Standing]:
        """Where each stands that there is."""
        these = in_values(self._connection, deployments.c.id, deployment_ids)
        columns = [deployments.c[name] for name in ("id", *Standing._fields)]
        rows = (await self._connection.execute(sa.select(*columns).where(these))).all()
        return {row.id: Standing(DeploymentState(row[1]), *row[2:]) for row in rows}

    async def note_looks(self, records: Sequence[DeploymentRecord]) -> None:
        """The checks of each, and what it waits for, while it stays where it is."""
        statement = sa.update(deployments).where(deployments.c.id == sa.bindparam("noted"))
        rows = [
            {
                "noted": record.deployment.id,
                "checks": [check.model_dump() for check in record.checks],
                "waits": record.deployment.waits,
            }
            for record in records
        ]
        if rows:
            await self._connection.execute(statement, rows)

    async def postpone(self, deployment: Deployment, outage: Outage, waits: str) -> None:
        """Nobody works on the deployment before the next try."""
        values = {**asdict(outage), "waits": waits}
        await self._update([deployments.c.id == deployment.id], values)

    async def hold(self, deployment: Deployment, until: datetime, waits: str) -> None:
        """Nobody works on the deployment before its policy's windows open."""
        values = {"retry_at": until.astimezone(UTC), "waits": waits}
        await self._update([deployments.c.id == deployment.id], values)

    async def append_history(self, deployment: Deployment, by: str | None) -> None:
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

    async def history(self, deployment_id: str) -> list[HistoryEntry]:
        query = sa.select(steps).where(steps.c.deployment_id == deployment_id)
        rows = (await self._connection.execute(query.order_by(steps.c.number))).all()
        return [HistoryEntry(r.number, DeploymentState(r.state), r.why, r.by, r.at) for r in rows]

    async def get(self, deployment_id: str) -> DeploymentRecord:
        """The deployment; NotFoundError when there is none."""
        records = await self._where(deployments.c.id == deployment_id)
        if not records:
            raise NotFoundError(f"no deployment {deployment_id}")
        return records[0]

    async def with_ids(self, deployment_ids: Sequence[str]) -> dict[str, DeploymentRecord]:
        """Those that there are, by their ids."""
        these = in_values(self._connection, deployments.c.id, deployment_ids)
        return {record.deployment.id: record for record in await self._where(these)}

    async def in_flight(self, models: Collection[ModelKey] | None = None) -> list[DeploymentStatus]:
        """Whatever has not ended, of all models or of some; newest version first."""
        mine = [] if models is None else [of_models(self._connection, deployments, models)]
        going = deployments.c.state.in_(sorted(IN_FLIGHT))
        return await self._statuses(going, *mine)

    async def serving(self) -> list[DeploymentStatus]:
        """The champions of all models."""
        return await self._statuses(deployments.c.champion)

    async def champion_version(self, environment: str, model_id: str) -> int | None:
        """Which version is the model's champion, where it has one."""
        model = (environment, model_id)
        return (await self.champion_versions([model])).get(model)

    async def champion_versions(self, models: Collection[ModelKey]) -> dict[ModelKey, int]:
        """Which version is champion, of those models that have one."""
        columns = (deployments.c.environment, deployments.c.model_id, deployments.c.version)
        mine = of_models(self._connection, deployments, models)
        query = sa.select(*columns).where(deployments.c.champion, mine)
        rows = (await self._connection.execute(query)).all()
        return {(row.environment, row.model_id): row.version for row in rows}

    async def of_model(self, environment: str, model_id: str) -> list[DeploymentRecord]:
        """Newest version first, and of a version the newest attempt first."""
        return await self._where(
            deployments.c.environment == environment, deployments.c.model_id == model_id
        )

    async def of_model_named(self, environment: str, model: str) -> list[DeploymentRecord]:
        """As `of_model`; NotFoundError when nothing of that name was ever deployed."""
        records = await self._where(
            deployments.c.environment == environment, deployments.c.model == model
        )
        if not records:
            raise NotFoundError(f"no deployment of a model {model!r}")
        return records

    async def paused(self, environment: str, model_id: str) -> list[DeploymentRecord]:
        """What of a model is paused, newest version first."""
        mine = (deployments.c.environment == environment, deployments.c.model_id == model_id)
        return await self._where(*mine, deployments.c.state == DeploymentState.PAUSED)

    async def page(
        self, model: str | None, state: DeploymentState | None, limit: int, skip: int
    ) -> list[DeploymentRecord]:
        """At most `limit` deployments behind the first `skip`, newest first."""
        wanted = [deployments.c.model == model] if model else []
        wanted += [deployments.c.state == state] if state else []
        query = sa.select(deployments).where(*wanted)
        query = query.order_by(deployments.c.created_at.desc(), deployments.c.id)
        rows = (await self._connection.execute(query.limit(limit).offset(skip))).all()
        return [_record(row) for row in rows]

    async def champion(self, environment: str, model_id: str) -> DeploymentRecord | None:
        mine = (deployments.c.environment == environment, deployments.c.model_id == model_id)
        return next(iter(await self._where(*mine, deployments.c.champion)), None)

    async def champions(self, environment: str, model_id: str) -> list[DeploymentRecord]:
        """Whatever is or was champion, the latest promotion first."""
        query = sa.select(deployments).where(
            deployments.c.environment == environment,
            deployments.c.model_id == model_id,
            deployments.c.promoted_at.is_not(None),
        )
        newest = query.order_by(deployments.c.promoted_at.desc())
        return [_record(row) for row in (await self._connection.execute(newest)).all()]

    async def _statuses(self, *wanted: sa.ColumnElement[bool]) -> list[DeploymentStatus]:
        columns = [deployments.c[name] for name in _COLUMNS[DeploymentStatus]]
        newest = (deployments.c.version.desc(), deployments.c.attempt.desc())
        query = sa.select(*columns).where(*wanted).order_by(*newest)
        rows = (await self._connection.execute(query)).all()
        return [DeploymentStatus(**_stored(row, DeploymentStatus)) for row in rows]

    async def _update(
        self, wanted: Sequence[sa.ColumnElement[bool]], values: Mapping[str, Any]
    ) -> bool:
        """Whether there was such a row; ConflictError where the model has no room for another."""
        statement = sa.update(deployments).where(*wanted).values(**values)
        try:
            return (await self._connection.execute(statement)).rowcount == 1
        except IntegrityError:
            raise ConflictError("another version of the model is champion or under way") from None

    async def _where(self, *wanted: sa.ColumnElement[bool]) -> list[DeploymentRecord]:
        query = sa.select(deployments).where(*wanted)
        newest = query.order_by(deployments.c.version.desc(), deployments.c.attempt.desc())
        return [_record(row) for row in (await self._connection.execute(newest)).all()]


def _values(record: DeploymentRecord) -> dict[str, Any]:
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


_COLUMNS = {
    kind: [field.name for field in fields(kind) if field.name in deployments.c]
    for kind in (DeploymentStatus, Deployment)
}
"""Those fields that are columns of the same name."""


def _stored(row: Row[Any], kind: type[DeploymentStatus]) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in _COLUMNS[kind]},
        "state": DeploymentState(row.state),
        "paused_from": DeploymentState(row.paused_from) if row.paused_from else None,
    }


def _record(row: Row[Any]) -> DeploymentRecord:
    served = (
        ServedPackage(row.version, row.serving_digest, row.serving_format)
        if row.serving_digest
        else None
    )
    sandbox = Level(row.sandbox) if row.sandbox else None
    stored = {**_stored(row, Deployment), "served": served, "sandbox": sandbox}
    return DeploymentRecord(
        Deployment(**stored),
        ModelRegistered.model_validate(row.registered),
        Cause.from_json(row.cause),
        tuple(Check.model_validate(check) for check in row.checks),
        row.report,
    )
