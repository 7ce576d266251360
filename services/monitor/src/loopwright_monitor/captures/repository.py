"""Every query about captured rows, manifests and measured performance."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.clock import to_text
from loopwright_common.database import upsert
from loopwright_common.storage.captured_dataset import RowFile
from loopwright_monitor.captures.performance import Performance, Task
from loopwright_monitor.store.tables import captures, manifests, performance

MERGED_FROM = "merged from "
"""How the `source` of a file begins that was made of others."""


@dataclass(frozen=True, slots=True)
class CaptureFile:
    """A kept Parquet file of scored rows; `source` is replica, epoch and sequence of its batch."""

    digest: str
    rows: int
    first: datetime
    last: datetime
    source: str
    position: int = 0

    def file(self) -> RowFile:
        return RowFile(self.digest, self.rows, to_text(self.first), to_text(self.last))


class CaptureFiles:
    """Row files of a model; a merged one stands in for the small ones it was made of."""

    def __init__(self, connection: AsyncConnection, model_id: str) -> None:
        self._connection = connection
        self._model_id = model_id

    async def add(self, capture: CaptureFile) -> None:
        row = {"model_id": self._model_id, "digest": capture.digest, "rows": capture.rows,
               "first": capture.first, "last": capture.last, "source": capture.source}  # fmt: skip
        await self._connection.execute(sa.insert(captures).values(row))

    async def all(self) -> list[CaptureFile]:
        return await self._read(self._where(merged=False).order_by(captures.c.position))

    async def newest(self, limit: int) -> list[CaptureFile]:
        """The files of the last batches, newest first, as they came: also those merged by now."""
        found: list[CaptureFile] = []
        for merged in (False, True):  # one at a time, as the index has them
            query = self._where(merged=merged).where(captures.c.source.not_like(f"{MERGED_FROM}%"))
            found += await self._read(query.order_by(captures.c.position.desc()).limit(limit))
        return sorted(found, key=lambda file: file.position, reverse=True)[:limit]

    async def merge(self, below: int, until: int, merged: CaptureFile) -> None:
        """Files of fewer rows than `below`, up to the position `until`, are in `merged` now."""
        small = (
            captures.c.model_id == self._model_id,
            captures.c.rows < below,
            captures.c.position <= until,
        )
        await self._connection.execute(sa.update(captures).where(*small).values(merged=True))
        await self.add(merged)

    def _where(self, *, merged: bool) -> sa.Select[tuple[Any, ...]]:
        return sa.select(
            captures.c.digest,
            captures.c.rows,
            captures.c.first,
            captures.c.last,
            captures.c.source,
            captures.c.position,
        ).where(captures.c.model_id == self._model_id, captures.c.merged.is_(merged))

    async def _read(self, query: sa.Select[tuple[Any, ...]]) -> list[CaptureFile]:
        return [CaptureFile(*row) for row in (await self._connection.execute(query)).all()]


class Performances:
    """Measured performance of each version of a model."""

    def __init__(self, connection: AsyncConnection, model_id: str) -> None:
        self._connection = connection
        self._model_id = model_id

    async def get(self, version: int, task: Task) -> Performance:
        query = sa.select(performance).where(
            performance.c.model_id == self._model_id, performance.c.version == version
        )
        row = (await self._connection.execute(query)).mappings().first()
        return Performance(task) if row is None else _performance(row)

    async def all(self) -> dict[int, Performance]:
        query = sa.select(performance).where(performance.c.model_id == self._model_id)
        rows = (await self._connection.execute(query.order_by(performance.c.version))).mappings()
        return {row["version"]: _performance(row) for row in rows}

    async def save(self, version: int, now: Performance) -> None:
        sums = {
            "labelled": now.labelled,
            "loss_sum": now.loss_sum,
            "brier_sum": now.brier_sum,
            "label_sum": now.label_sum,
            "score_sum": now.score_sum,
        }
        row = {"model_id": self._model_id, "version": version, "task": now.task, **sums}
        await upsert(self._connection, performance, row, update=tuple(sums))


@dataclass(frozen=True, slots=True)
class PinnedManifest:
    """A manifest in the store; `trained` ones went out with a retrain request."""

    digest: str
    rows: int
    labelled: int
    at: datetime
    trained: bool


class Manifests:
    """The manifests that were pinned of a model, in order."""

    def __init__(self, connection: AsyncConnection, model_id: str) -> None:
        self._connection = connection
        self._model_id = model_id

    async def add(self, pinned: PinnedManifest) -> None:
        row = {"model_id": self._model_id, "digest": pinned.digest, "rows": pinned.rows,
               "labelled": pinned.labelled, "at": pinned.at, "trained": pinned.trained}  # fmt: skip
        await self._connection.execute(sa.insert(manifests).values(row))

    async def last_position(self) -> int:
        """Grows with each manifest; 0 before the first."""
        query = sa.select(sa.func.max(manifests.c.position))
        query = query.where(manifests.c.model_id == self._model_id)
        return int((await self._connection.scalar(query)) or 0)

    async def newest(self, *, trained: bool = False) -> PinnedManifest | None:
        query = sa.select(
            manifests.c.digest,
            manifests.c.rows,
            manifests.c.labelled,
            manifests.c.at,
            manifests.c.trained,
        ).where(manifests.c.model_id == self._model_id)
        if trained:
            query = query.where(manifests.c.trained.is_(True))
        row = (await self._connection.execute(query.order_by(manifests.c.position.desc()))).first()
        return None if row is None else PinnedManifest(*row)


def _performance(row: sa.RowMapping) -> Performance:
    return Performance(
        row["task"],
        row["labelled"],
        row["loss_sum"],
        row["brier_sum"],
        row["label_sum"],
        row["score_sum"],
    )
