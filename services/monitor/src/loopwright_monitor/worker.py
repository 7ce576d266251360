"""Work outside the handlers: building profiles, deciding about episodes, forgetting old scores."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from importlib import import_module

import structlog

from loopwright_common import clock
from loopwright_common.database.database import Database
from loopwright_common.errors import UnavailableError
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_monitor.captures.label_repository import prune
from loopwright_monitor.drift import service as drift
from loopwright_monitor.drift.gap_tracker import GapTracker
from loopwright_monitor.metrics import MonitorMetrics
from loopwright_monitor.references import reference_from_dataset, reference_from_traffic
from loopwright_monitor.retraining import service as retraining
from loopwright_monitor.signals import WakeSignals
from loopwright_monitor.store import locks
from loopwright_monitor.watched.repository import WatchedModels, WatchedVersions

log = structlog.get_logger()
_LOOK_EVERY = 5.0
_REST = 0.5
"""Seconds between two reviews at least, however many labels arrive."""


def profile_loop(
    database: Database, store: ArtifactStore, signals: WakeSignals
) -> Callable[[], Awaitable[None]]:
    async def build() -> None:
        await reference_from_dataset.build_wanted(database, store)
        await reference_from_traffic.build_collected(database)

    async def build_profiles() -> None:
        await _whenever(signals.profiles, build)

    return build_profiles


def review_loop(
    database: Database, store: ArtifactStore, signals: WakeSignals, run_timeout: timedelta
) -> Callable[[], Awaitable[None]]:
    async def review_episodes() -> None:
        await _whenever(signals.review, lambda: retraining.review(database, store, run_timeout))

    return review_episodes


def prune_loop(database: Database, horizon: timedelta) -> Callable[[], Awaitable[None]]:
    async def forget_old_scores() -> None:
        while True:
            await prune_before(database, clock.now() - horizon)
            await asyncio.sleep(3600)

    return forget_old_scores


async def prune_before(database: Database, at: datetime) -> None:
    """What labels that come now are not joined with any more, model by model."""
    async with database.read() as connection:
        found = await WatchedModels(connection).all()
    for model in found:
        async with database.unit_of_work() as uow:
            await uow.lock(locks.capturing(model.model_id), locks.detecting(model.model_id))
            await prune(uow.connection, model.model_id, at)
            await GapTracker(uow.connection).forget_before(model.model_id, at)


def measure_loop(
    database: Database, metrics: MonitorMetrics, every: timedelta
) -> Callable[[], Awaitable[None]]:
    async def measure() -> None:
        while True:
            await show_metrics(database, metrics)
            await asyncio.sleep(every.total_seconds())

    return measure


async def show_metrics(database: Database, metrics: MonitorMetrics) -> None:
    """Set every figure to what the database says now."""
    found = []
    async with database.read() as connection:
        for model in await WatchedModels(connection).all():
            version = (
                await WatchedVersions(connection).get(model.model_id, model.champion)
                if model.champion is not None
                else None
            )
            detector = await drift.champion_detector(connection, version) if version else None
            found.append((model, detector))
    metrics.begin()
    for model, detector in found:
        metrics.show(model, detector)


def once_preloaded(run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Run what needs a library whose import takes seconds, without a start that waits for it."""

    async def run_preloaded() -> None:
        for name in ("river.metrics", "river.drift"):
            await asyncio.to_thread(import_module, name)
        await run()

    return run_preloaded


async def _whenever(wake: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Work at once, on every wake, and now and then; a passing fault waits for the next turn."""
    while True:
        wake.clear()
        try:
            await work()
        except UnavailableError as error:
            log.warning("worker.paused", error=str(error))
        await asyncio.sleep(_REST)
        try:
            async with asyncio.timeout(_LOOK_EVERY):
                await wake.wait()
        except TimeoutError:
            pass
