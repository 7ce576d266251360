"""Every query about profiles, detector state and the rows that make a reference."""

from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import upsert
from loopwright_common.errors import NotFoundError
from loopwright_monitor.detectors.base import CHAMPION_STREAMS
from loopwright_monitor.detectors.profile import Profile, Reference
from loopwright_monitor.detectors.registry import DETECTORS
from loopwright_monitor.store.tables import detectors, first_rows, losses, profiles, versions


class Profiles:
    """Reference profiles as JSON, each under its digest; none is ever changed."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, digest: str, body: str) -> None:
        """Keep a profile, unless it is there."""
        await upsert(self._connection, profiles, {"digest": digest, "body": body})

    async def get(self, digest: str) -> str | None:
        query = sa.select(profiles.c.body).where(profiles.c.digest == digest)
        return (await self._connection.execute(query)).scalar()


_references: OrderedDict[str, Reference] = OrderedDict()
_MAX_REFERENCES = 64


async def load_reference(connection: AsyncConnection, digest: str) -> Reference:
    """The stored profile; a digest always means the same, so the latest used are kept at hand.

    NotFoundError where no profile has the digest.
    """
    if digest not in _references:
        body = await Profiles(connection).get(digest)
        if body is None:
            raise NotFoundError(f"no profile {digest}")
        _references[digest] = Reference(digest, Profile.from_json(body))
        while len(_references) > _MAX_REFERENCES:
            _references.popitem(last=False)
    return _references[digest]


@dataclass(frozen=True, slots=True)
class StoredState:
    """A detector's state beside the digest of its reference, "" where it needs none.

    The state is empty until the first row is compared with the reference.
    """

    profile: str
    state: bytes


class DetectorStates:
    """State per (model, version, detector); that of losses has a table of its own, as text."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def load(self, model_id: str, version: int, name: str) -> StoredState | None:
        if name == losses.name:
            query = sa.select(losses.c.state)
            query = query.where(losses.c.model_id == model_id, losses.c.version == version)
            text = (await self._connection.execute(query)).scalar()
            return None if text is None else StoredState("", text.encode())
        query = sa.select(detectors.c.profile, detectors.c.state).where(
            *_of_stream(detectors, model_id, version, name)
        )
        row = (await self._connection.execute(query)).first()
        return None if row is None else StoredState(row.profile, row.state)

    async def save(self, model_id: str, version: int, name: str, stored: StoredState) -> None:
        row: dict[str, Any] = {"model_id": model_id, "version": version}
        if name == losses.name:
            state = {**row, "state": stored.state.decode()}
            await upsert(self._connection, losses, state, update=("state",))
            return
        row |= {"stream": name, **asdict(stored)}
        await upsert(self._connection, detectors, row, update=("profile", "state"))

    async def delete(self, model_id: str, name: str) -> None:
        """The detector's state of all versions."""
        table = losses if name == losses.name else detectors
        where = [table.c.model_id == model_id]
        if table is detectors:
            where.append(table.c.stream == name)
        await self._connection.execute(sa.delete(table).where(*where))


async def begin_anew(connection: AsyncConnection, model_id: str) -> None:
    """Another champion: what its predecessors' streams have taught and collected is let go."""
    states = DetectorStates(connection)
    for name, detector in DETECTORS.items():
        if detector.stream in CHAMPION_STREAMS:
            await states.delete(model_id, name)
    of_champion = (first_rows.c.model_id == model_id, first_rows.c.stream.in_(CHAMPION_STREAMS))
    await connection.execute(sa.delete(first_rows).where(*of_champion))


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
        self._conditions = _of_stream(first_rows, model_id, version, stream)

    async def add(self, body: CollectedRows) -> int:
        """Keep the rows; returns how many there are now."""
        await self._connection.execute(sa.insert(first_rows).values({**self._key, **asdict(body)}))
        total = sa.select(sa.func.sum(first_rows.c.rows)).where(*self._conditions)
        return int((await self._connection.scalar(total)) or 0)

    async def all(self) -> list[CollectedRows]:
        """Oldest first."""
        columns = (first_rows.c.start, first_rows.c.rows, first_rows.c.body)
        query = sa.select(*columns).where(*self._conditions).order_by(first_rows.c.position)
        return [CollectedRows(*row) for row in (await self._connection.execute(query)).all()]

    async def pop_all(self) -> list[CollectedRows]:
        """All of them, oldest first; they are gone afterwards."""
        collected = await self.all()
        if collected:
            await self._connection.execute(sa.delete(first_rows).where(*self._conditions))
        return collected

    async def are_enough(self, rows: int) -> bool:
        """Whether these are so many rows, and the stream has no reference."""
        return (*self._key.values(),) in await self._enough(
            self._connection, rows, *self._conditions
        )

    @classmethod
    async def enough(cls, connection: AsyncConnection, rows: int) -> list[tuple[str, int, str]]:
        """Streams that have collected so many rows, and have no reference nor wait for one."""
        return await cls._enough(connection, rows)

    @staticmethod
    async def _enough(
        connection: AsyncConnection, rows: int, *conditions: sa.ColumnElement[bool]
    ) -> list[tuple[str, int, str]]:
        columns = (first_rows.c.model_id, first_rows.c.version, first_rows.c.stream)
        started = sa.exists().where(*(detectors.c[column.name] == column for column in columns))
        has_profile = sa.exists().where(
            versions.c.model_id == first_rows.c.model_id,
            versions.c.version == first_rows.c.version,
            versions.c.profile_state != "collecting",
            first_rows.c.stream == "inputs",
        )
        query = sa.select(*columns).where(~started, ~has_profile, *conditions).group_by(*columns)
        query = query.having(sa.func.sum(first_rows.c.rows) >= rows).order_by(*columns)
        return [tuple(row) for row in (await connection.execute(query)).all()]


def _of_stream(
    table: sa.Table, model_id: str, version: int, stream: str
) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.c.model_id == model_id,
        table.c.version == version,
        table.c.stream == stream,
    )
