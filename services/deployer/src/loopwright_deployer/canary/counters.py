"""The canary's counters as the scorers report them, kept by (replica, epoch, revision, version)."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import upsert
from loopwright_common.events import ServingMeasured
from loopwright_deployer.canary.call_counts import (
    BoundCalls,
    CallCounter,
    CounterKey,
    merge_reports,
)
from loopwright_deployer.deployments.tables import counters

_KEPT_REVISIONS = 32


class CanaryCounters:
    """Queries over the counters; rows leave here as plain dataclasses."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def merge(self, report: ServingMeasured) -> None:
        """Merge by maximum: loss, repetition and disorder of reports do no harm."""
        counter_key = CounterKey(report.replica, report.epoch, report.revision, report.version)
        key = {
            "environment": report.environment,
            "model_id": report.model_id,
            **counter_key._asdict(),
        }
        old = await self._locked(key)
        if old is None:
            if await upsert(self._connection, counters, {**key, **_values(_counter(report))}):
                return
            old = await self._locked(key)
        changed = sa.update(counters).where(*_same(key))
        await self._connection.execute(
            changed.values(_values(merge_reports(old, _counter(report))))
        )

    async def of_model(self, environment: str, model_id: str) -> dict[CounterKey, CallCounter]:
        query = sa.select(counters).where(
            counters.c.environment == environment, counters.c.model_id == model_id
        )
        rows = (await self._connection.execute(query)).all()
        return {CounterKey(r.replica, r.epoch, r.revision, r.version): _stored(r) for r in rows}

    async def delete_before(self, environment: str, model_id: str, revision: int) -> None:
        """Drop counters of revisions long before `revision`, the oldest that verdicts look at.

        The champion's calls of some revisions before it stay: by them is known what is slow.
        """
        await self._connection.execute(
            sa.delete(counters).where(
                counters.c.environment == environment,
                counters.c.model_id == model_id,
                counters.c.revision < revision - _KEPT_REVISIONS,
            )
        )

    async def _locked(self, key: Mapping[str, Any]) -> CallCounter | None:
        """The counter, which nobody else changes until this commits."""
        query = sa.select(counters).where(*_same(key)).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        return _stored(row) if row else None


def _same(key: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [counters.c[name] == value for name, value in key.items()]


def _stored(row: sa.Row[Any]) -> CallCounter:
    return CallCounter(
        row.calls,
        row.errors,
        tuple(row.latency_edges),
        tuple(row.latency_counts),
        row.tripped,
        row.refused,
        BoundCalls.of_one(row.caller_counts, row.caller_shares),
    )


def _values(counter: CallCounter) -> dict[str, Any]:
    return {
        "calls": counter.calls,
        "errors": counter.errors,
        "refused": counter.refused,
        "latency_edges": list(counter.latency_edges),
        "latency_counts": list(counter.latency_counts),
        "caller_counts": list(counter.bound.counts),
        "caller_shares": list(counter.bound.shares),
        "tripped": counter.tripped,
    }


def _counter(report: ServingMeasured) -> CallCounter:
    return CallCounter(
        report.calls,
        report.errors,
        tuple(report.latency_edges),
        tuple(report.latency_counts),
        report.tripped,
        report.refused,
        BoundCalls.of_one(report.caller_counts, report.caller_shares),
    )
