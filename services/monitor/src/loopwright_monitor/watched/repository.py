"""Every query about models."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import upsert
from loopwright_monitor.store.tables import arrivals, kept, models, seen


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
        """The model, known from now on."""
        known = await self.get(model_id)
        if known is None:
            await upsert(self._connection, models, {"model_id": model_id, "model": model})
        return known or WatchedModel(model_id, model)

    async def get(self, model_id: str) -> WatchedModel | None:
        return await self._one(models.c.model_id == model_id)

    async def get_by_name(self, model: str) -> WatchedModel | None:
        """The model of that name; of several ids the latest promoted."""
        return await self._one(models.c.model == model)

    async def all(self) -> list[WatchedModel]:
        query = _MODELS.order_by(models.c.model_id)
        return [WatchedModel(**row) for row in (await self._connection.execute(query)).mappings()]

    async def names(self) -> list[str]:
        names = await self._connection.scalars(sa.select(models.c.model).distinct())
        return sorted(names.all())

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
