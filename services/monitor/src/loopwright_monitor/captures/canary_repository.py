"""Every query about canaries whose calls are counted as their labels come."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import Cause, upsert
from loopwright_common.events import CanaryPeriod
from loopwright_monitor.captures.label_repository import PredictionRecord
from loopwright_monitor.store.tables import canary_labels, scores

_SCORED = [
    scores.c[name]
    for name in ("prediction_id", "request_id", "version", "time", "score", "predicted", "task",
                 "label", "label_at")
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedCanary:
    """A canary that was promoted over `previous`; labels of its calls count `until` then.

    A regressor is wrong by more than `wrong_above`, once that is known. `marks` grow with the
    labels; while they are more than those `counted` there is something new to count.
    """

    deployment_id: str
    environment: str
    model_id: str
    model: str
    version: int
    previous: int
    periods: tuple[CanaryPeriod, ...]
    until: datetime
    cause: Cause
    wrong_above: float | None = None
    marks: int = 1
    counted: int = 0

    def concerns(self, row: PredictionRecord) -> bool:
        """Whether a row is of one of its calls, or tells what error was usual before them."""
        if row.version == self.previous and row.time < self.periods[0].begin:
            return self.wrong_above is None and row.task == "regression"
        mine = row.version in (self.version, self.previous)
        return mine and any(each.begin <= row.time < each.end for each in self.periods)


class PromotedCanaries:
    """The canaries of all models that labels are waited for."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, canary: PromotedCanary) -> None:
        """Its model's former ones are removed; one that is known stays as it is."""
        others = (
            canary_labels.c.model_id == canary.model_id,
            canary_labels.c.environment == canary.environment,
            canary_labels.c.deployment_id != canary.deployment_id,
        )
        await self._connection.execute(sa.delete(canary_labels).where(*others))
        row = {
            name: getattr(canary, name)
            for name in PromotedCanary.__slots__
            if name not in ("periods", "cause")
        }
        periods = [period.model_dump(mode="json") for period in canary.periods]
        row |= {"periods": periods, "cause": canary.cause.to_json()}
        await upsert(self._connection, canary_labels, row)

    async def remove(self, deployment_id: str) -> None:
        mine = canary_labels.c.deployment_id == deployment_id
        await self._connection.execute(sa.delete(canary_labels).where(mine))

    async def forget_before(self, at: datetime) -> None:
        """Those whose labels do not count any more."""
        await self._connection.execute(sa.delete(canary_labels).where(canary_labels.c.until < at))

    async def of_model(self, model_id: str) -> list[PromotedCanary]:
        return await self._where(canary_labels.c.model_id == model_id)

    async def to_count(self, at: datetime) -> list[PromotedCanary]:
        """Those with labels that are not counted yet and count at that time."""
        return await self._where(
            canary_labels.c.counted < canary_labels.c.marks, canary_labels.c.until > at
        )

    async def mark(self, canaries: Sequence[PromotedCanary]) -> None:
        """There is something new to count of them."""
        for canary in canaries:
            await self._connection.execute(
                sa.update(canary_labels)
                .where(canary_labels.c.deployment_id == canary.deployment_id)
                .values(marks=canary_labels.c.marks + 1)
            )

    async def set_counted(self, canary: PromotedCanary, wrong_above: float | None) -> bool:
        """All up to the marks it was read with are counted; False where somebody was quicker."""
        same = (
            canary_labels.c.deployment_id == canary.deployment_id,
            canary_labels.c.counted == canary.counted,
        )
        change = sa.update(canary_labels).where(*same)
        change = change.values(counted=canary.marks, wrong_above=wrong_above)
        return (await self._connection.execute(change)).rowcount == 1

    async def rows_in(
        self, canary: PromotedCanary, period: CanaryPeriod, limit: int
    ) -> list[PredictionRecord]:
        """The first rows of both versions in a period, in their order; labelled or not."""
        query = sa.select(*_SCORED).where(
            scores.c.model_id == canary.model_id,
            scores.c.version.in_((canary.version, canary.previous)),
            scores.c.time >= period.begin,
            scores.c.time < period.end,
        )
        return await self._scored(query.order_by(scores.c.time, scores.c.prediction_id), limit)

    async def rows_before(self, canary: PromotedCanary, limit: int) -> list[PredictionRecord]:
        """The newest labelled rows of the champion from before the canary."""
        query = sa.select(*_SCORED).where(
            scores.c.model_id == canary.model_id,
            scores.c.version == canary.previous,
            scores.c.time < canary.periods[0].begin,
            scores.c.label.is_not(None),
        )
        return await self._scored(query.order_by(scores.c.time.desc()), limit)

    async def _scored(self, query: sa.Select[Any], limit: int) -> list[PredictionRecord]:
        rows = (await self._connection.execute(query.limit(limit))).all()
        return [PredictionRecord(*row) for row in rows]

    async def _where(self, *conditions: sa.ColumnElement[bool]) -> list[PromotedCanary]:
        query = sa.select(canary_labels).where(*conditions)
        rows = (await self._connection.execute(query)).mappings()
        return [_canary(row) for row in rows]


def marked_by(
    canaries: Iterable[PromotedCanary], rows: Sequence[PredictionRecord]
) -> list[PromotedCanary]:
    """Those of the canaries that one of the rows is a call of."""
    return [canary for canary in canaries if any(canary.concerns(row) for row in rows)]


def _canary(row: sa.RowMapping) -> PromotedCanary:
    periods = tuple(CanaryPeriod.model_validate(period) for period in row["periods"])
    cause = Cause.from_json(row["cause"])
    return PromotedCanary(**{**row, "periods": periods, "cause": cause})
