"""Every query about profiles, detector state and the rows that make a reference."""

from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database.dialect import upsert
from loopwright_monitor.store.tables import detectors, first_rows, losses, profiles, versions


class Profiles:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, digest: str, body: str) -> None:
        await upsert(self._connection, profiles, {"digest": digest, "body": body})

    async def get(self, digest: str) -> str | None:
        query = sa.select(profiles.c.body).where(profiles.c.digest == digest)
        return (await self._connection.execute(query)).scalar()


class DetectorStates:
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
        """The stream's state and rows of all versions."""
        for table in (detectors, first_rows):
            which = (table.c.model_id == model_id, table.c.stream == stream)
            await self._connection.execute(sa.delete(table).where(*which))


class LossStates:
    """The state of each champion's losses, as JSON."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def load(self, model_id: str, version: int) -> str | None:
        query = sa.select(losses.c.state)
        query = query.where(losses.c.model_id == model_id, losses.c.version == version)
        return (await self._connection.execute(query)).scalar()

    async def save(self, model_id: str, version: int, state: str) -> None:
        row = {"model_id": model_id, "version": version, "state": state}
        await upsert(self._connection, losses, row, update=("state",))

    async def forget(self, model_id: str) -> None:
        await self._connection.execute(sa.delete(losses).where(losses.c.model_id == model_id))


@dataclass(frozen=True, slots=True)
class CollectedRows:
    """Collected rows as Arrow; before them the model had seen `start` rows."""

    start: int
    rows: int
    body: bytes


class FirstRows:
    """The first rows of a stream that has no reference yet, kept until they make one."""

    def __init__(self, connection: AsyncConnection, model_id: str, version: int, stream: str):
        self._connection = connection
        self._key = {"model_id": model_id, "version": version, "stream": stream}
        self._place = _place(first_rows, model_id, version, stream)

    async def add(self, body: CollectedRows) -> int:
        """Keep the rows; returns how many there are now."""
        await self._connection.execute(sa.insert(first_rows).values({**self._key, **asdict(body)}))
        total = sa.select(sa.func.sum(first_rows.c.rows)).where(*self._place)
        return int((await self._connection.scalar(total)) or 0)

    async def all(self) -> list[CollectedRows]:
        """Oldest first."""
        columns = (first_rows.c.start, first_rows.c.rows, first_rows.c.body)
        query = sa.select(*columns).where(*self._place).order_by(first_rows.c.position)
        return [CollectedRows(*row) for row in (await self._connection.execute(query)).all()]

    async def pop_all(self) -> list[CollectedRows]:
        """All of them, oldest first; they are gone afterwards."""
        found = await self.all()
        if found:
            await self._connection.execute(sa.delete(first_rows).where(*self._place))
        return found

    async def are_enough(self, rows: int) -> bool:
        """Whether these are so many rows, and the stream has no reference."""
        return (*self._key.values(),) in await self._enough(self._connection, rows, *self._place)

    @classmethod
    async def enough(cls, connection: AsyncConnection, rows: int) -> list[tuple[str, int, str]]:
        """Streams that have collected so many rows, and have no reference nor wait for one."""
        return await cls._enough(connection, rows)

    @staticmethod
    async def _enough(
        connection: AsyncConnection, rows: int, *which: sa.ColumnElement[bool]
    ) -> list[tuple[str, int, str]]:
        place = (first_rows.c.model_id, first_rows.c.version, first_rows.c.stream)
        started = sa.exists().where(*(detectors.c[column.name] == column for column in place))
        told = sa.exists().where(
            versions.c.model_id == first_rows.c.model_id,
            versions.c.version == first_rows.c.version,
            versions.c.profile_state != "collecting",
            first_rows.c.stream == "inputs",
        )
        query = sa.select(*place).where(~started, ~told, *which).group_by(*place)
        query = query.having(sa.func.sum(first_rows.c.rows) >= rows).order_by(*place)
        return [tuple(row) for row in (await connection.execute(query)).all()]


def _place(
    table: sa.Table, model_id: str, version: int, stream: str
) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.c.model_id == model_id,
        table.c.version == version,
        table.c.stream == stream,
    )
