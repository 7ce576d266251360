"""How it went on after a request: a run, a deployment, another champion, or nothing at all."""

from datetime import datetime

from loopwright_common import clock
from loopwright_common.database import UnitOfWork
from loopwright_common.events import (
    DeploymentEvent,
    DeploymentFinished,
    Event,
    TrainingFinished,
)
from loopwright_monitor.episodes.decision_repository import RecordedDecisions
from loopwright_monitor.episodes.repository import Episodes
from loopwright_monitor.episodes.request_repository import DeploymentOutcomes, RetrainingRequests
from loopwright_monitor.episodes.retraining_policy import RetrainingDecision
from loopwright_monitor.references.state_repository import begin_anew
from loopwright_monitor.store import locks
from loopwright_monitor.watched.repository import WatchedModels


async def champion_changed(
    uow: UnitOfWork, data: DeploymentEvent, version: int, why: str, at: datetime
) -> None:
    """Another champion: its own profile is watched from here on, and open episodes are over.

    Promotions and rollbacks come in any order; what was said last, by `at`, holds.
    """
    model_id = data.model_id
    await uow.lock(*locks.everything(model_id))
    models = WatchedModels(uow.connection)
    known = await models.ensure(model_id, data.model)
    if known.champion_at is not None and at < known.champion_at:
        return
    await models.set_champion(model_id, version, at)
    if known.champion == version:
        return
    await begin_anew(uow.connection, model_id)
    now = clock.now()
    for episode in await Episodes(uow.connection).close(model_id, now, why):
        await RecordedDecisions(uow.connection).add(
            episode, RetrainingDecision("closed", "promoted", why), now
        )


async def run_finished(uow: UnitOfWork, event: Event[TrainingFinished]) -> None:
    """A run that answers a request ended: its version's deployment decides, or there is none."""
    data = event.data
    requests = RetrainingRequests(uow.connection)
    models = {request.model_id for request in await requests.in_flight(data.pipeline)}
    await uow.lock(*(locks.deciding(model_id) for model_id in models))
    for request in await requests.in_flight(data.pipeline):
        answers = request.event in event.causes or request.chain_id == event.chain_id
        if not answers:
            continue
        if data.status != "succeeded" or data.version is None:
            why = f"the run ended as {data.status}: {data.why}"
            await requests.end(request, clock.now(), why)
            continue
        await requests.set_version(request, data.version)
        outcome = await DeploymentOutcomes(uow.connection).get(request.model_id, data.version)
        if outcome is not None:
            await requests.end(request, clock.now(), outcome)


async def deployment_finished(uow: UnitOfWork, event: Event[DeploymentFinished]) -> None:
    """The deployment of a version ended; so did the request that the version answers."""
    data = event.data
    why = f"the deployment of version {data.version} ended as {data.outcome}: {data.why}"
    await uow.lock(locks.deciding(data.model_id))
    await DeploymentOutcomes(uow.connection).add(data.model_id, data.version, why)
    requests = RetrainingRequests(uow.connection)
    for request in await requests.in_flight():
        ours = request.model_id == data.model_id
        if ours and (request.version == data.version or request.chain_id == event.chain_id):
            await requests.end(request, clock.now(), why)


async def end_unanswered(uow: UnitOfWork, asked_before: datetime) -> None:
    """End the requests whose runs have not reported since then; their episodes may ask again."""
    requests = RetrainingRequests(uow.connection)
    models = {request.model_id for request in await requests.unanswered(asked_before)}
    await uow.lock(*(locks.deciding(model_id) for model_id in models))
    episodes = {each.id: each for each in await Episodes(uow.connection).unclosed()}
    for request in await requests.unanswered(asked_before):
        why = (
            f"the retraining asked for at {request.at:%Y-%m-%d %H:%M:%S} UTC has not reported and "
            f"counts as failed: see whether the trainer runs and has pipeline {request.pipeline}"
        )
        await requests.end(request, clock.now(), why)
        if episode := episodes.get(request.episode):
            decision = RetrainingDecision("waits", "timed-out", why)
            await RecordedDecisions(uow.connection).add(episode, decision, clock.now())
