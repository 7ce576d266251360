"""The canary's counters as the scorers report them, kept by (replica, epoch, revision, version)."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.events import ServingMeasured
from loopwright_common.sql import upsert
from loopwright_deployer.judge import Counted, Counter, merged
from loopwright_deployer.tables import counters

_KEPT_REVISIONS = 32
_VALUES = ("calls", "errors", "latency_edges", "latency_counts", "tripped")


class Counters:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def take(self, told: ServingMeasured) -> None:
        """Merge by maximum: loss, repetition and disorder of reports do no harm."""
        counted = Counted(told.replica, told.epoch, told.revision, told.version)
        old = (await self.of(told.environment, told.model_id, counted)).get(counted)
        value = merged(old, _counter(told))
        row = {
            "environment": told.environment,
            "model_id": told.model_id,
            **counted._asdict(),
            "calls": value.calls,
            "errors": value.errors,
            "latency_edges": list(value.latency_edges),
            "latency_counts": list(value.latency_counts),
            "tripped": value.tripped,
        }
        await upsert(self._connection, counters, row, update=_VALUES)

    async def of(
        self, environment: str, model_id: str, only: Counted | None = None
    ) -> dict[Counted, Counter]:
        query = sa.select(counters).where(
            counters.c.environment == environment, counters.c.model_id == model_id
        )
        for name, value in (only._asdict() if only else {}).items():
            query = query.where(counters.c[name] == value)
        rows = (await self._connection.execute(query)).all()
        return {
            Counted(r.replica, r.epoch, r.revision, r.version): Counter(
                r.calls, r.errors, tuple(r.latency_edges), tuple(r.latency_counts), r.tripped
            )
            for r in rows
        }

    async def forget_before(self, environment: str, model_id: str, revision: int) -> None:
        """Drop counters of revisions that no verdict looks at any more."""
        await self._connection.execute(
            sa.delete(counters).where(
                counters.c.environment == environment,
                counters.c.model_id == model_id,
                counters.c.revision < revision - _KEPT_REVISIONS,
            )
        )


def _counter(told: ServingMeasured) -> Counter:
    return Counter(
        told.calls,
        told.errors,
        tuple(told.latency_edges),
        tuple(told.latency_counts),
        told.tripped,
    )
