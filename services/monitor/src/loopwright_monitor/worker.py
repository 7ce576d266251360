"""Work outside the handlers: building profiles, deciding about episodes, forgetting old scores."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Never

from loopwright_common import clock
from loopwright_common.database import Database
from loopwright_common.process.worker_loop import work_on_wake
from loopwright_common.storage import ArtifactStore
from loopwright_monitor.captures import canary_labels, performance
from loopwright_monitor.captures.canary_repository import PromotedCanaries
from loopwright_monitor.captures.label_repository import prune
from loopwright_monitor.drift.comparison import champion_evidence
from loopwright_monitor.drift.gap_tracker import GapTracker
from loopwright_monitor.metrics import MonitorMetrics
from loopwright_monitor.references import reference_from_dataset, reference_from_traffic
from loopwright_monitor.retraining import service as retraining
from loopwright_monitor.signals import WakeSignals
from loopwright_monitor.store import locks
from loopwright_monitor.watched.repository import WatchedModels
from loopwright_monitor.watched.version_repository import WatchedVersions

_EVERY = 5.0
_REST = 0.5
"""Seconds between two reviews at least, however many labels arrive."""
_COUNT_REST = 2.0
"""Seconds between two counts of a canary's calls, of which there may be very many."""
_PRUNE_EVERY = 3600.0
Loop = Callable[[], Awaitable[Never]]


def profile_loop(database: Database, store: ArtifactStore, signals: WakeSignals) -> Loop:
    async def build() -> None:
        await reference_from_dataset.build_wanted(database, store)
        await reference_from_traffic.build_collected(database)

    return partial(work_on_wake, signals.profiles, build, name="profiles", every=_EVERY, rest=_REST)


def review_loop(
    database: Database, store: ArtifactStore, signals: WakeSignals, run_timeout: timedelta
) -> Loop:
    review = partial(retraining.review, database, store, run_timeout)
    return partial(work_on_wake, signals.review, review, name="review", every=_EVERY, rest=_REST)


def canary_labels_loop(database: Database, signals: WakeSignals) -> Loop:
    count = partial(canary_labels.count_labelled, database)
    return partial(
        work_on_wake, signals.labels, count, name="canary-labels", every=_EVERY, rest=_COUNT_REST
    )


def prune_loop(database: Database, horizon: timedelta) -> Loop:
    async def prune_old() -> None:
        await prune_before(database, clock.now() - horizon)
        async with database.unit_of_work() as uow:
            await PromotedCanaries(uow.connection).forget_before(clock.now())

    return partial(work_on_wake, asyncio.Event(), prune_old, name="prune", every=_PRUNE_EVERY)


async def prune_before(database: Database, at: datetime) -> None:
    """Let go of what labels that come now are not joined with any more, model by model."""
    async with database.read() as connection:
        models = await WatchedModels(connection).all()
    for model in models:
        async with database.unit_of_work() as uow:
            await uow.lock(locks.capturing(model.model_id), locks.detecting(model.model_id))
            await prune(uow.connection, model.model_id, at)
            await GapTracker(uow.connection).forget_before(model.model_id, at)


def measure_loop(database: Database, metrics: MonitorMetrics, every: timedelta) -> Loop:
    measure = partial(show_metrics, database, metrics)
    seconds = every.total_seconds()
    return partial(work_on_wake, asyncio.Event(), measure, name="metrics", every=seconds)


async def show_metrics(database: Database, metrics: MonitorMetrics) -> None:
    """Set every figure to what the database says now."""
    shown = []
    async with database.read() as connection:
        for model in await WatchedModels(connection).all():
            version = (
                await WatchedVersions(connection).get(model.model_id, model.champion)
                if model.champion is not None
                else None
            )
            evidence = await champion_evidence(connection, version) if version else None
            shown.append((model, evidence))
    metrics.begin()
    for model, evidence in shown:
        metrics.show(model, evidence)


def once_preloaded(
    run: Callable[[], Awaitable[None]], database: Database
) -> Callable[[], Awaitable[None]]:
    """Run with what measuring needs where there are labels; else the first label brings it."""

    async def run_preloaded() -> None:
        async with database.read() as connection:
            labelled = any(model.labelled for model in await WatchedModels(connection).all())
        if labelled:
            await performance.preload()
        await run()

    return run_preloaded
