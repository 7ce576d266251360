"""Decide about open episodes and ask for retrainings."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from loopwright_common import clock
from loopwright_common.database import Cause, Database, UnitOfWork
from loopwright_common.database.leases import Lease, confirm
from loopwright_common.events import RetrainRequested
from loopwright_common.failpoints import failpoint
from loopwright_common.storage import ArtifactStore
from loopwright_monitor.captures import snapshot
from loopwright_monitor.captures.repository import Manifests
from loopwright_monitor.episodes.decision_repository import RecordedDecisions
from loopwright_monitor.episodes.repository import Episode, Episodes
from loopwright_monitor.episodes.request_repository import RetrainingRequests
from loopwright_monitor.episodes.retraining_policy import (
    EpisodeSituation,
    RetrainingDecision,
    RetrainingTrigger,
    decide,
)
from loopwright_monitor.retraining import request_tracking
from loopwright_monitor.store import exclusive_jobs, locks
from loopwright_monitor.watched.repository import WatchedModels
from loopwright_monitor.watched.version_repository import WatchedVersion, WatchedVersions


@dataclass(frozen=True, slots=True)
class EpisodeOutlook:
    """An open episode with all that decides about it."""

    episode: Episode
    version: WatchedVersion
    situation: EpisodeSituation
    captured: int

    @property
    def decision(self) -> RetrainingDecision:
        return decide(self.situation)


async def review(database: Database, store: ArtifactStore, run_timeout: timedelta) -> None:
    """Decide anew about every open episode, and ask where it is time.

    A request whose run has not reported within `run_timeout` counts as failed. UnavailableError
    while the database or the artifact store is away; any other fault is logged with its episode.
    """
    async with database.read() as connection:
        unclosed = await Episodes(connection).unclosed()
        overdue = await RetrainingRequests(connection).unanswered(clock.now() - run_timeout)
    if overdue:
        async with database.unit_of_work() as uow:
            await request_tracking.end_unanswered(uow, clock.now() - run_timeout)
    for episode in unclosed:
        if await _is_time(database, episode):
            ask = partial(_pin_and_ask, database, store, episode)
            await exclusive_jobs.run_exclusively(database, f"episode/{episode.id}", ask)


async def _is_time(database: Database, episode: Episode) -> bool:
    """Whether the episode may ask; why not is written down."""
    async with database.unit_of_work() as uow:
        await uow.lock(locks.deciding(episode.model_id))
        outlook = await _outlook(uow, episode)
        if outlook is None:
            return False
        if outlook.decision.verdict != "asked":
            await _write_down(uow, outlook.episode, outlook.decision)
        return outlook.decision.verdict == "asked"


async def _pin_and_ask(
    database: Database, store: ArtifactStore, episode: Episode, lease: Lease
) -> None:
    plan = await snapshot.prepare(database, store, episode.model_id, trained=True)
    async with database.unit_of_work(episode.cause) as uow:
        await confirm(uow, lease)
        await uow.lock(locks.deciding(episode.model_id), locks.capturing(episode.model_id))
        latest = await _outlook(uow, episode)
        is_time = latest is not None and latest.decision.verdict == "asked"
        if latest is not None and is_time and await snapshot.commit(uow, plan):
            await _ask(uow, latest, plan.pinned.digest)


async def _outlook(uow: UnitOfWork, asking: Episode) -> EpisodeOutlook | None:
    """None when the episode has been closed, or another of its model speaks for it."""
    unclosed = await Episodes(uow.connection).unclosed(asking.model_id)
    episode = next((each for each in unclosed if each.id == asking.id), None)
    if episode is None or _speaker(unclosed, episode).id != asking.id:
        return None
    model = await WatchedModels(uow.connection).get(episode.model_id)
    version = await WatchedVersions(uow.connection).get(episode.model_id, episode.version)
    trained = await Manifests(uow.connection, episode.model_id).newest(trained=True)
    requests = RetrainingRequests(uow.connection)
    last = await requests.latest(episode.model_id)
    now = clock.now()
    captured = model.captured if model else 0
    version = version or WatchedVersion(
        model_id=episode.model_id, model=episode.model, version=episode.version
    )
    situation = EpisodeSituation(
        now=now,
        kind=episode.kind,
        pipeline=version.pipeline,
        trigger=_trigger(version),
        asks=episode.asks,
        new_labels=(model.labelled if model else 0) - (trained.labelled if trained else 0),
        rows_since=captured - (last.captured if last else 0),
        last_request_at=last.at if last else None,
        requests_today=await requests.count_since(episode.model_id, now - timedelta(days=1)),
        in_flight=last is not None and last.ended_at is None,
    )
    return EpisodeOutlook(episode, version, situation, captured)


def _speaker(unclosed: list[Episode], episode: Episode) -> Episode:
    """The oldest of a model's open episodes that may ask, which does so for all."""
    if episode.kind == "quality":
        return episode
    return next(each for each in unclosed if each.kind != "quality")


def _trigger(version: WatchedVersion) -> RetrainingTrigger | None:
    drift = version.policy.drift
    if drift is None:
        return None
    return RetrainingTrigger(
        drift.min_new_labels, drift.cooldown.rows, drift.cooldown.time, drift.per_day
    )


async def _ask(uow: UnitOfWork, outlook: EpisodeOutlook, captured: str) -> None:
    """Emit the request as a consequence of every drift event that it answers."""
    episode, decision, pipeline = outlook.episode, outlook.decision, outlook.version.pipeline
    if pipeline is None:
        return
    answered = [
        each
        for each in await Episodes(uow.connection).unclosed(episode.model_id)
        if each.kind != "quality"
    ]
    causes = tuple(cause for each in answered for cause in each.cause.event_ids)
    uow.follow(Cause(episode.cause.chain_id, causes, episode.cause.traceparent), "monitor.retrain")
    data = RetrainRequested(
        pipeline=pipeline,
        reason="drift",
        model=episode.model,
        version=episode.version,
        captured=captured,
        requested_by="monitor",
        why=decision.sentence,
        causes=list(causes),
    )
    identity = f"retrain/{episode.id}/{episode.asks + 1}"
    event = await uow.emit(data, key=pipeline, subject=f"pipelines/{pipeline}", identity=identity)
    await RetrainingRequests(uow.connection).add(episode, event, outlook.captured)
    await Episodes(uow.connection).count_ask([each.id for each in answered])
    await _write_down(uow, episode, decision)
    failpoint("monitor.asked")


async def _write_down(uow: UnitOfWork, episode: Episode, decision: RetrainingDecision) -> None:
    """Once per reason: figures that grow are no new decision."""
    decisions = RecordedDecisions(uow.connection)
    if await decisions.latest_reason(episode.id) != decision.reason:
        await decisions.add(episode, decision, clock.now())
