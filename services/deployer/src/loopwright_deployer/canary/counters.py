"""The canary's counters as the scorers report them, kept by (replica, epoch, revision, version)."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import in_values, upsert
from loopwright_common.events import ServingMeasured
from loopwright_deployer.canary.call_counts import (
    BoundCalls,
    CallCounter,
    CounterKey,
    merge_reports,
)
from loopwright_deployer.deployments.domain import ModelKey
from loopwright_deployer.deployments.tables import counters, of_models

_KEPT_REVISIONS = 32


class CounterTotals(NamedTuple):
    """Over all counters of a model; a report that says anything new makes one of them larger."""

    counters: int
    tripped: int
    calls: int
    errors: int
    refused: int


class CanaryCounters:
    """Queries over the counters; rows leave here as plain dataclasses."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def merge(self, report: ServingMeasured) -> bool:
        """As `merge_all`; whether it said anything new."""
        return bool(await self.merge_all([report]))

    async def merge_all(self, reports: Iterable[ServingMeasured]) -> set[ModelKey]:
        """Merge by maximum: loss, repetition and disorder of reports do no harm.

        The models of which they said anything new.
        """
        told: dict[_Key, CallCounter] = {}
        for report in reports:
            key = _key_of(report)
            told[key] = merge_reports(told.get(key), _counter(report))
        known = await self._locked(told)
        added = {key for key in told.keys() - known.keys() if await self._insert(key, told[key])}
        if late := told.keys() - known.keys() - added:
            known |= await self._locked(late)
        merged = {key: merge_reports(old, told[key]) for key, old in known.items()}
        changed = {key: counter for key, counter in merged.items() if counter != known[key]}
        if changed:
            rows = [{**_bound(key), **_values(counter)} for key, counter in changed.items()]
            await self._connection.execute(_UPDATE, rows)
        return {key.model for key in added | changed.keys()}

    async def of_model(self, environment: str, model_id: str) -> dict[CounterKey, CallCounter]:
        model = (environment, model_id)
        return (await self.of_models([model])).get(model, {})

    async def of_models(
        self, models: Collection[ModelKey]
    ) -> dict[ModelKey, dict[CounterKey, CallCounter]]:
        """Those of each model that has any."""
        query = sa.select(counters).where(of_models(self._connection, counters, models))
        found: dict[ModelKey, dict[CounterKey, CallCounter]] = defaultdict(dict)
        for r in (await self._connection.execute(query)).all():
            found[r.environment, r.model_id][_counter_key(r)] = _stored(r)
        return found

    async def totals(self, models: Collection[ModelKey]) -> dict[ModelKey, CounterTotals]:
        """How much has been counted of each model: other totals where a report said new things."""
        model = (counters.c.environment, counters.c.model_id)
        sums = [sa.func.sum(counters.c[name]) for name in ("calls", "errors", "refused")]
        counts = [sa.func.count(), sa.func.count(counters.c.tripped)]
        query = sa.select(*model, *counts, *sums).group_by(*model)
        mine = query.where(of_models(self._connection, counters, models))
        rows = (await self._connection.execute(mine)).all()
        return {(row[0], row[1]): CounterTotals(*map(int, row[2:])) for row in rows}

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

    async def _insert(self, key: "_Key", counter: CallCounter) -> bool:
        """False where somebody else was quicker."""
        return await upsert(self._connection, counters, {**_columns(key), **_values(counter)})

    async def _locked(self, keys: Collection["_Key"]) -> dict["_Key", CallCounter]:
        """Those that there are, which nobody else changes until this commits."""
        wanted = [
            in_values(self._connection, counters.c[name], sorted({_columns(k)[name] for k in keys}))
            for name in _KEY_NAMES
        ]
        query = sa.select(counters).where(*wanted).order_by(*counters.primary_key)
        rows = (await self._connection.execute(query.with_for_update())).all()
        stored = {_Key((row.environment, row.model_id), _counter_key(row)): row for row in rows}
        return {key: _stored(stored[key]) for key in keys if key in stored}


class _Key(NamedTuple):
    """One counter of one model."""

    model: ModelKey
    counter: CounterKey


_KEY_NAMES = [column.name for column in counters.primary_key]
_UPDATE = sa.update(counters).where(
    *(counters.c[name] == sa.bindparam(f"of_{name}") for name in _KEY_NAMES)
)


def _key_of(report: ServingMeasured) -> _Key:
    counter = CounterKey(report.replica, report.epoch, report.revision, report.version)
    return _Key((report.environment, report.model_id), counter)


def _columns(key: _Key) -> dict[str, Any]:
    environment, model_id = key.model
    return {"environment": environment, "model_id": model_id, **key.counter._asdict()}


def _bound(key: _Key) -> dict[str, Any]:
    return {f"of_{name}": value for name, value in _columns(key).items()}


def _counter_key(row: sa.Row[Any]) -> CounterKey:
    return CounterKey(row.replica, row.epoch, row.revision, row.version)


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
