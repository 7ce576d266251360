"""Every query about models and versions."""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.policy import MonitorPolicy
from loopwright_common.sql import upsert
from loopwright_monitor.drift.profile import Strictness
from loopwright_monitor.tables import models, versions


@dataclass(frozen=True, slots=True)
class Model:
    """A model: live `rows` seen, of those `captured`, of those `labelled`.

    `missed` logged batches never came, and the replicas said they `dropped` so many rows.
    """

    model_id: str
    model: str
    champion: int | None = None
    rows: int = 0
    captured: int = 0
    labelled: int = 0
    missed: int = 0
    dropped: int = 0

    @property
    def gaps(self) -> str | None:
        """What is not known of the stream, as a sentence; None where nothing is missing."""
        if self.missed <= 0 and self.dropped <= 0:
            return None
        return (
            f"logged batches missing: {self.missed:,}; rows the scorers dropped: "
            f"{self.dropped:,}; what is found rests on the others"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version; `profile_state` is `wanted`, `ready` or `collecting` first rows."""

    model_id: str
    model: str
    version: int
    pipeline: str | None = None
    training: str | None = None
    target: str | None = None
    inputs: list[str] | None = None
    policy: MonitorPolicy = field(default_factory=MonitorPolicy)
    classes: list[str] | None = None
    profile_state: str = "collecting"
    profile_why: str = ""
    profile: str | None = None

    @property
    def strictness(self) -> Strictness:
        policy = self.policy
        return Strictness(policy.smallest_change, policy.false_alarm_every.rows, policy.block_rows)

    def why_ready(self, source: str) -> str:
        """What it is compared with, after anything that went wrong before."""
        said = f"reference: {source}"
        return f"{self.profile_why}; {said}" if self.profile_why else said


class Models:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def ensure(self, model_id: str, model: str) -> Model:
        found = await self.get(model_id)
        if found is None:
            await upsert(self._connection, models, {"model_id": model_id, "model": model})
        return found or Model(model_id, model)

    async def get(self, model_id: str) -> Model | None:
        return await self._one(models.c.model_id == model_id)

    async def named(self, model: str) -> Model | None:
        """The model of that name; of several ids the latest promoted."""
        return await self._one(models.c.model == model)

    async def all(self) -> list[Model]:
        query = sa.select(models).order_by(models.c.model_id)
        return [_model(row) for row in (await self._connection.execute(query)).all()]

    async def names(self) -> list[str]:
        query = sa.select(models.c.model).distinct().order_by(models.c.model)
        return list((await self._connection.scalars(query)).all())

    async def crown(self, model_id: str, version: int) -> None:
        await self._connection.execute(
            sa.update(models)
            .where(models.c.model_id == model_id)
            .values(champion=version, champion_at=clock.now())
        )

    async def count(
        self, model_id: str, *, rows: int = 0, captured: int = 0, labelled: int = 0
    ) -> None:
        added = {
            "rows": models.c.rows + rows,
            "captured": models.c.captured + captured,
            "labelled": models.c.labelled + labelled,
        }
        await self._connection.execute(
            sa.update(models).where(models.c.model_id == model_id).values(added)
        )

    async def _one(self, which: sa.ColumnElement[bool]) -> Model | None:
        query = sa.select(models).where(which).order_by(models.c.champion_at.desc()).limit(1)
        row = (await self._connection.execute(query)).first()
        if row is None:
            return None
        return _model(row)


class Versions:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, version: Version) -> None:
        row = {
            "model_id": version.model_id,
            "version": version.version,
            "model": version.model,
            "pipeline": version.pipeline,
            "training": version.training,
            "target": version.target,
            "inputs": version.inputs,
            "policy": version.policy.model_dump(mode="json"),
            "profile_state": version.profile_state,
            "profile_why": version.profile_why,
        }
        await upsert(self._connection, versions, row)

    async def get(self, model_id: str, version: int) -> Version | None:
        found = await self._where(versions.c.model_id == model_id, versions.c.version == version)
        return found[0] if found else None

    async def wanting_profile(self) -> list[Version]:
        return await self._where(versions.c.profile_state == "wanted")

    async def set_profile(
        self, version: Version, state: str, why: str, digest: str | None = None
    ) -> None:
        await self._change(version, profile_state=state, profile_why=why, profile=digest)

    async def set_classes(self, version: Version, classes: list[str] | None) -> None:
        await self._change(version, classes=classes)

    async def _change(self, version: Version, **values: Any) -> None:
        await self._connection.execute(
            sa.update(versions)
            .where(versions.c.model_id == version.model_id, versions.c.version == version.version)
            .values(**values)
        )

    async def _where(self, *which: sa.ColumnElement[bool]) -> list[Version]:
        query = sa.select(versions).where(*which).order_by(versions.c.model_id, versions.c.version)
        return [_version(row) for row in (await self._connection.execute(query)).mappings()]


def _model(row: sa.Row[Any]) -> Model:
    names = Model.__dataclass_fields__
    return Model(**{name: getattr(row, name) for name in names})


def _version(row: Any) -> Version:
    return Version(
        model_id=row["model_id"],
        model=row["model"],
        version=row["version"],
        pipeline=row["pipeline"],
        training=row["training"],
        target=row["target"],
        inputs=row["inputs"],
        policy=MonitorPolicy.model_validate(row["policy"]),
        classes=row["classes"],
        profile_state=row["profile_state"],
        profile_why=row["profile_why"],
        profile=row["profile"],
    )
