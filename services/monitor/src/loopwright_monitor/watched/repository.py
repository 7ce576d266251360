"""Every query about models and versions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import upsert
from loopwright_common.deploy_policy import MonitorPolicy
from loopwright_monitor.detectors.profile import Strictness
from loopwright_monitor.store.tables import arrivals, kept, models, seen, versions


@dataclass(frozen=True, slots=True)
class WatchedModel:
    """A model: live `rows` seen, of those `captured`, of those `labelled`.

    `missed` logged batches never came, the replicas compared they `dropped` so many rows, and
    `unknown_tails` of their runs ended without a word about the last rows.
    """

    model_id: str
    model: str
    champion: int | None = None
    champion_at: datetime | None = None
    rows: int = 0
    captured: int = 0
    labelled: int = 0
    missed: int = 0
    dropped: int = 0
    unknown_tails: int = 0

    @property
    def gaps(self) -> str | None:
        """What is not known of the stream, as a sentence; None where nothing is missing."""
        if max(self.missed, self.dropped, self.unknown_tails) <= 0:
            return None
        return (
            f"logged batches missing: {self.missed:,}; rows the scorers dropped: "
            f"{self.dropped:,}; scorers that stopped without saying how many rows they still had: "
            f"{self.unknown_tails:,}; what is found rests on the others"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedVersion:
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
        compared = f"reference: {source}"
        return f"{self.profile_why}; {compared}" if self.profile_why else compared


def has_later_epoch() -> sa.ColumnElement[bool]:
    """Whether the replica of an epoch among the arrivals has begun another since."""
    later = arrivals.alias()
    return sa.exists().where(
        later.c.model_id == arrivals.c.model_id,
        later.c.replica == arrivals.c.replica,
        later.c.epoch > arrivals.c.epoch,
    )


def _unknown_tails() -> sa.ScalarSelect[int]:
    """Epochs that did not mark their end although their replica has begun another since."""
    query = sa.select(sa.func.count()).select_from(arrivals)
    return query.where(
        arrivals.c.model_id == models.c.model_id, arrivals.c.ended.is_(False), has_later_epoch()
    ).scalar_subquery()


_MODELS = sa.select(
    models.c.model_id,
    models.c.model,
    models.c.champion,
    models.c.champion_at,
    *(
        sa.func.coalesce(column, 0).label(column.name)
        for column in (seen.c.rows, seen.c.missed, seen.c.dropped, kept.c.captured, kept.c.labelled)
    ),
    _unknown_tails().label("unknown_tails"),
).select_from(
    models.outerjoin(seen, seen.c.model_id == models.c.model_id).outerjoin(
        kept, kept.c.model_id == models.c.model_id
    )
)


class WatchedModels:
    """Models that were heard of, their champions and counts of rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def ensure(self, model_id: str, model: str) -> WatchedModel:
        found = await self.get(model_id)
        if found is None:
            await upsert(self._connection, models, {"model_id": model_id, "model": model})
        return found or WatchedModel(model_id, model)

    async def get(self, model_id: str) -> WatchedModel | None:
        return await self._one(models.c.model_id == model_id)

    async def get_by_name(self, model: str) -> WatchedModel | None:
        """The model of that name; of several ids the latest promoted."""
        return await self._one(models.c.model == model)

    async def all(self) -> list[WatchedModel]:
        query = _MODELS.order_by(models.c.model_id)
        return [WatchedModel(**row) for row in (await self._connection.execute(query)).mappings()]

    async def names(self) -> list[str]:
        found = await self._connection.scalars(sa.select(models.c.model).distinct())
        return sorted(found.all())

    async def set_champion(self, model_id: str, version: int, at: datetime) -> None:
        await self._connection.execute(
            sa.update(models)
            .where(models.c.model_id == model_id)
            .values(champion=version, champion_at=at)
        )

    async def count_seen(self, model_id: str, **more: int) -> None:
        """More `rows`, `missed` batches or `dropped` rows; the caller has locked `detecting`."""
        await self._count(seen, model_id, more)

    async def count_kept(self, model_id: str, **more: int) -> None:
        """More rows `captured` or `labelled`; the caller has locked `capturing`."""
        await self._count(kept, model_id, more)

    async def _count(self, table: sa.Table, model_id: str, more: Mapping[str, int]) -> None:
        grown = {name: table.c[name] + by for name, by in more.items()}
        change = sa.update(table).where(table.c.model_id == model_id).values(grown)
        if (await self._connection.execute(change)).rowcount == 0:
            await self._connection.execute(sa.insert(table).values(model_id=model_id, **more))

    async def _one(self, which: sa.ColumnElement[bool]) -> WatchedModel | None:
        query = _MODELS.where(which).order_by(models.c.champion_at.desc().nulls_last()).limit(1)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else WatchedModel(**row)


class WatchedVersions:
    """Registered versions, their policies and the state of their profiles."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, version: WatchedVersion) -> None:
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

    async def get(self, model_id: str, version: int) -> WatchedVersion | None:
        found = await self._where(versions.c.model_id == model_id, versions.c.version == version)
        return found[0] if found else None

    async def wanting_profile(self) -> list[WatchedVersion]:
        return await self._where(versions.c.profile_state == "wanted")

    async def set_profile(
        self, version: WatchedVersion, state: str, why: str, digest: str | None = None
    ) -> None:
        await self._change(version, profile_state=state, profile_why=why, profile=digest)

    async def set_classes(self, version: WatchedVersion, classes: list[str] | None) -> None:
        await self._change(version, classes=classes)

    async def _change(self, version: WatchedVersion, **values: Any) -> None:
        await self._connection.execute(
            sa.update(versions)
            .where(versions.c.model_id == version.model_id, versions.c.version == version.version)
            .values(**values)
        )

    async def _where(self, *conditions: sa.ColumnElement[bool]) -> list[WatchedVersion]:
        query = (
            sa.select(versions).where(*conditions).order_by(versions.c.model_id, versions.c.version)
        )
        return [_version(row) for row in (await self._connection.execute(query)).mappings()]


def _version(row: Any) -> WatchedVersion:
    return WatchedVersion(
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
