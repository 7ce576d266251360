"""Every query about labels, and about the scored rows that they are joined to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.storage.captured_dataset import LabelFile
from loopwright_monitor.captures.performance import Task
from loopwright_monitor.store.tables import label_files, labels, scores

_CHUNK = 500
_LONGEST_ID = 255


def can_be_found(text: str) -> bool:
    """Whether every database takes the text as an id."""
    return len(text) <= _LONGEST_ID and "\0" not in text


@dataclass(frozen=True, slots=True)
class ReportedLabel:
    """A label reported for a prediction or request id; `label` is JSON, None takes it back."""

    id: str
    kind: str
    label: str | None
    at: datetime
    position: int = 0


class Labels:
    """Labels of a model on their way into label files, and those that wait for their rows."""

    def __init__(self, connection: AsyncConnection, model_id: str) -> None:
        self._connection = connection
        self._model_id = model_id

    async def add(self, reported: Sequence[ReportedLabel], joined: set[str]) -> None:
        """`joined` are the ids whose rows are known."""
        rows = [
            {"model_id": self._model_id, "id": each.id, "kind": each.kind, "label": each.label,
             "at": each.at, "joined": each.id in joined}
            for each in reported
        ]  # fmt: skip
        if rows:
            await self._connection.execute(sa.insert(labels), rows)

    async def join_waiting(self, kind: str, ids: Iterable[str]) -> list[ReportedLabel]:
        """Labels that came before their rows, oldest first; they count as joined afterwards."""
        found: list[ReportedLabel] = []
        for chunk in _chunks(ids):
            conditions = (
                labels.c.joined.is_(False),
                labels.c.kind == kind,
                labels.c.id.in_(chunk),
                labels.c.model_id == self._model_id,
            )
            if waiting := await self._reported(*conditions):
                found += waiting
                await self._connection.execute(
                    sa.update(labels).where(*conditions).values(joined=True)
                )
        return found

    async def unfiled(self) -> list[ReportedLabel]:
        """Labels in no label file yet, oldest first."""
        return await self._reported(labels.c.model_id == self._model_id, labels.c.filed.is_(False))

    async def file(self, until: int, file: LabelFile) -> None:
        """The labels up to the position `until` are in the file now."""
        conditions = (labels.c.model_id == self._model_id, labels.c.position <= until)
        await self._connection.execute(sa.update(labels).where(*conditions).values(filed=True))
        await self._connection.execute(
            sa.delete(labels).where(*conditions, labels.c.joined.is_(True))
        )
        row = {"model_id": self._model_id, "digest": file.digest, "rows": file.rows,
               "until": until}  # fmt: skip
        await self._connection.execute(sa.insert(label_files).values(row))

    async def files(self) -> list[LabelFile]:
        query = sa.select(label_files.c.digest, label_files.c.rows)
        query = query.where(label_files.c.model_id == self._model_id)
        rows = (await self._connection.execute(query.order_by(label_files.c.position))).all()
        return [LabelFile(*row) for row in rows]

    async def _reported(self, *conditions: sa.ColumnElement[bool]) -> list[ReportedLabel]:
        query = sa.select(
            labels.c.id, labels.c.kind, labels.c.label, labels.c.at, labels.c.position
        )
        query = query.where(*conditions).order_by(labels.c.position)
        return [ReportedLabel(*row) for row in (await self._connection.execute(query)).all()]


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """What a version answered for a row, kept until its label is too late to count."""

    prediction_id: str
    request_id: str | None
    version: int
    time: datetime
    score: float | None
    predicted: str | None
    task: Task
    label: str | None = None
    label_at: datetime | None = None

    def labelled(self, label: str | None, at: datetime) -> "PredictionRecord":
        return replace(self, label=label, label_at=at)


_SCORE = (
    scores.c.prediction_id,
    scores.c.request_id,
    scores.c.version,
    scores.c.time,
    scores.c.score,
    scores.c.predicted,
    scores.c.task,
    scores.c.label,
    scores.c.label_at,
)


class PredictionRecords:
    """Predictions of a model that labels may still be joined to."""

    def __init__(self, connection: AsyncConnection, model_id: str) -> None:
        self._connection = connection
        self._model_id = model_id

    async def add(self, rows: Sequence[PredictionRecord]) -> None:
        """Keep the rows; a prediction id that is there already stays as it is."""
        values = [
            {"prediction_id": row.prediction_id, "request_id": row.request_id,
             "model_id": self._model_id, "version": row.version, "time": row.time,
             "score": row.score, "predicted": row.predicted, "task": row.task}
            for row in rows
        ]  # fmt: skip
        dialect = sqlite if self._connection.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(scores).on_conflict_do_nothing(index_elements=["prediction_id"])
        await self._connection.execute(statement, values)

    async def of(self, kind: str, ids: Iterable[str]) -> list[PredictionRecord]:
        """The rows of these prediction or request ids."""
        column = scores.c.prediction_id if kind == "prediction" else scores.c.request_id
        found: list[PredictionRecord] = []
        for chunk in _chunks(ids):
            query = sa.select(*_SCORE).where(column.in_(chunk), scores.c.model_id == self._model_id)
            found += [
                PredictionRecord(*row) for row in (await self._connection.execute(query)).all()
            ]
        return found

    async def label(self, rows: Sequence[PredictionRecord]) -> None:
        """Keep the labels that the rows have now."""
        if not rows:
            return
        statement = (
            sa.update(scores)
            .where(scores.c.prediction_id == sa.bindparam("which"))
            .values(label=sa.bindparam("said"), label_at=sa.bindparam("said_at"))
        )
        values = [
            {"which": row.prediction_id, "said": row.label, "said_at": row.label_at} for row in rows
        ]
        await self._connection.execute(statement, values)


async def prune(connection: AsyncConnection, model_id: str, before: datetime) -> None:
    """Forget a model's scores and waiting labels older than that."""
    old = (scores.c.model_id == model_id, scores.c.time < before)
    await connection.execute(sa.delete(scores).where(*old))
    late = (labels.c.model_id == model_id, labels.c.at < before, labels.c.filed.is_(True))
    await connection.execute(sa.delete(labels).where(*late))


def _chunks(ids: Iterable[str]) -> list[list[str]]:
    every = list(dict.fromkeys(ids))
    return [every[at : at + _CHUNK] for at in range(0, len(every), _CHUNK)]
