"""Every query about versions, profiles and detector state."""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.policy import MonitorPolicy
from loopwright_common.sql import upsert
from loopwright_monitor.tables import detectors, first_rows, models, profiles, versions


@dataclass(frozen=True, slots=True)
class Model:
    """A model: live `rows` seen, of those `captured`, of those `labelled`."""

    model_id: str
    model: str
    champion: int | None
    rows: int
    captured: int
    labelled: int


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


class Models:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def ensure(self, model_id: str, model: str) -> Model:
        found = await self.get(model_id)
        if found is None:
            await upsert(self._connection, models, {"model_id": model_id, "model": model})
        return found or Model(model_id, model, None, 0, 0, 0)

    async def get(self, model_id: str) -> Model | None:
        return await self._one(models.c.model_id == model_id)

    async def named(self, model: str) -> Model | None:
        """The model of that name; of several ids the latest promoted."""
        return await self._one(models.c.model == model)

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
        return Model(row.model_id, row.model, row.champion, row.rows, row.captured, row.labelled)


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


class Profiles:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, digest: str, body: str) -> None:
        await upsert(self._connection, profiles, {"digest": digest, "body": body})

    async def get(self, digest: str) -> str | None:
        query = sa.select(profiles.c.body).where(profiles.c.digest == digest)
        return (await self._connection.execute(query)).scalar()


class Detectors:
    """State per (model, version, stream): `inputs` of the champion, `score` of every version."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def load(self, model_id: str, version: int, stream: str) -> tuple[str, bytes] | None:
        """The profile's digest and the state."""
        query = sa.select(detectors.c.profile, detectors.c.state).where(
            *_place(detectors, model_id, version, stream)
        )
        row = (await self._connection.execute(query)).first()
        return None if row is None else (row.profile, row.state)

    async def save(
        self, model_id: str, version: int, stream: str, state: tuple[str, bytes]
    ) -> None:
        row = {"model_id": model_id, "version": version, "stream": stream,
               "profile": state[0], "state": state[1]}  # fmt: skip
        await upsert(self._connection, detectors, row, update=("profile", "state"))

    async def forget(self, model_id: str, stream: str) -> None:
        await self._connection.execute(
            sa.delete(detectors).where(
                detectors.c.model_id == model_id, detectors.c.stream == stream
            )
        )


class FirstRows:
    """The first rows of a stream that has no reference yet, kept until they make one."""

    def __init__(self, connection: AsyncConnection, model_id: str, version: int, stream: str):
        self._connection = connection
        self._key = {"model_id": model_id, "version": version, "stream": stream}
        self._place = _place(first_rows, model_id, version, stream)

    async def add(self, rows: int, body: bytes) -> int:
        """Keep the rows; returns how many there are now."""
        values = {**self._key, "rows": rows, "body": body}
        await self._connection.execute(sa.insert(first_rows).values(values))
        total = sa.select(sa.func.sum(first_rows.c.rows)).where(*self._place)
        return int((await self._connection.scalar(total)) or 0)

    async def take(self) -> list[bytes]:
        """All of them, oldest first; they are gone afterwards."""
        query = sa.select(first_rows.c.body).where(*self._place).order_by(first_rows.c.position)
        found = list((await self._connection.scalars(query)).all())
        await self._connection.execute(sa.delete(first_rows).where(*self._place))
        return found


def _place(
    table: sa.Table, model_id: str, version: int, stream: str
) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.c.model_id == model_id,
        table.c.version == version,
        table.c.stream == stream,
    )


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
