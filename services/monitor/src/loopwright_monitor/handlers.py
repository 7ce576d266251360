"""What the monitor does on each event, as three consumers with positions of their own."""

from loopwright_common.cloudevents.inference_logged import InferenceLogged
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.delivery.inbox import BoundTwoPhaseHandler, Handler, Handlers
from loopwright_common.events import (
    DeploymentEvent,
    DeploymentFinished,
    DeploymentPromoted,
    DeploymentRolledBack,
    Event,
    GroundTruthLogged,
    ModelRegistered,
    TrainingFinished,
)
from loopwright_common.failpoints import failpoint
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_monitor.captures import capture_writer
from loopwright_monitor.captures import service as captures
from loopwright_monitor.captures.capture_writer import CapturedBatch
from loopwright_monitor.drift import service as drift
from loopwright_monitor.references import reference_from_dataset
from loopwright_monitor.retraining import request_tracking
from loopwright_monitor.signals import WakeSignals


def detect_handlers(signals: WakeSignals) -> Handlers:
    async def on_inference_logged(event: Event[InferenceLogged], uow: UnitOfWork) -> None:
        learnt = await drift.learn_batch(uow, event.data)
        if learnt.alarms:
            failpoint("monitor.alarm")
            uow.after_commit.append(signals.review.set)
        if learnt.collected:
            uow.after_commit.append(signals.profiles.set)

    return {InferenceLogged: on_inference_logged}


def capture_handlers(store: ArtifactStore, signals: WakeSignals) -> Handlers:
    async def keep(event: Event[InferenceLogged]) -> CapturedBatch | None:
        return await capture_writer.write_capture(store, event)

    async def record(
        event: Event[InferenceLogged], kept: CapturedBatch | None, uow: UnitOfWork
    ) -> None:
        await captures.record_capture(event, kept, uow)
        uow.after_commit.append(signals.review.set)

    async def on_ground_truth_logged(event: Event[GroundTruthLogged], uow: UnitOfWork) -> None:
        await captures.record_labels(event, uow)
        uow.after_commit.append(signals.review.set)

    return {
        InferenceLogged: BoundTwoPhaseHandler(keep, record),
        GroundTruthLogged: on_ground_truth_logged,
    }


def lifecycle_handlers(signals: WakeSignals, environment: str) -> Handlers:
    """Of deployments, only those in this environment change what is watched."""

    async def on_model_registered(event: Event[ModelRegistered], uow: UnitOfWork) -> None:
        await reference_from_dataset.register_version(uow, event.data)
        uow.after_commit.append(signals.profiles.set)

    async def on_training_finished(event: Event[TrainingFinished], uow: UnitOfWork) -> None:
        await request_tracking.run_finished(uow, event)
        uow.after_commit.append(signals.review.set)

    async def on_deployment_finished(event: Event[DeploymentFinished], uow: UnitOfWork) -> None:
        await request_tracking.deployment_finished(uow, event)
        uow.after_commit.append(signals.review.set)

    return {
        ModelRegistered: on_model_registered,
        TrainingFinished: on_training_finished,
        DeploymentPromoted: _within(environment, on_deployment_promoted),
        DeploymentRolledBack: _within(environment, on_deployment_rolled_back),
        DeploymentFinished: _within(environment, on_deployment_finished),
    }


async def on_deployment_promoted(event: Event[DeploymentPromoted], uow: UnitOfWork) -> None:
    data = event.data
    why = f"version {data.version} took over"
    await request_tracking.champion_changed(uow, data, data.version, why, event.time)


async def on_deployment_rolled_back(event: Event[DeploymentRolledBack], uow: UnitOfWork) -> None:
    """A promotion undone; a canary taken back leaves the champion as it was."""
    data = event.data
    if data.previous is not None:
        why = f"version {data.version} was rolled back, version {data.previous} serves again"
        await request_tracking.champion_changed(uow, data, data.previous, why, event.time)


def _within(environment: str, handle: Handler) -> Handler:
    async def handle_ours(event: Event[DeploymentEvent], uow: UnitOfWork) -> None:
        if event.data.environment == environment:
            await handle(event, uow)

    return handle_ours
