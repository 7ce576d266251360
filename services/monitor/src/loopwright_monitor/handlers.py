"""What the monitor does on each event, as three consumers with positions of their own."""

from dataclasses import dataclass

from loopwright_common.cloudevents import InferenceLogged
from loopwright_common.database import UnitOfWork
from loopwright_common.delivery import BoundBy, TwoPhaseHandler
from loopwright_common.events import (
    DeploymentFinished,
    DeploymentPromoted,
    DeploymentRolledBack,
    Event,
    GroundTruthLogged,
    ModelRegistered,
    TrainingFinished,
)
from loopwright_common.failpoints import failpoint
from loopwright_common.storage import ArtifactStore
from loopwright_monitor.captures import canary_labels, capture_writer, performance
from loopwright_monitor.captures import service as captures
from loopwright_monitor.captures.capture_writer import CapturedBatch
from loopwright_monitor.drift import service as drift
from loopwright_monitor.references import reference_from_dataset
from loopwright_monitor.retraining import request_tracking
from loopwright_monitor.signals import WakeSignals


@dataclass(frozen=True, slots=True)
class MonitorContext:
    """What the handlers need; deployments of other environments than `environment` are let be."""

    store: ArtifactStore
    signals: WakeSignals
    environment: str


async def on_inference_logged(
    event: Event[InferenceLogged], uow: UnitOfWork, context: MonitorContext
) -> None:
    outcome = await drift.learn_batch(uow, event.data)
    if outcome.alarms:
        failpoint("monitor.alarm")
        uow.after_commit.append(context.signals.review.set)
    if outcome.collected:
        uow.after_commit.append(context.signals.profiles.set)


async def write_capture(
    event: Event[InferenceLogged], context: MonitorContext
) -> CapturedBatch | None:
    return await capture_writer.write_capture(context.store, event)


async def record_capture(
    event: Event[InferenceLogged],
    captured: CapturedBatch | None,
    uow: UnitOfWork,
    context: MonitorContext,
) -> None:
    await captures.record_capture(event, captured, uow)
    uow.after_commit += [context.signals.review.set, context.signals.labels.set]


async def prepare_measuring(_event: Event[GroundTruthLogged], _context: MonitorContext) -> None:
    await performance.preload()


async def record_labels(
    event: Event[GroundTruthLogged], _prepared: None, uow: UnitOfWork, context: MonitorContext
) -> None:
    await captures.record_labels(event, uow)
    uow.after_commit += [context.signals.review.set, context.signals.labels.set]


async def on_model_registered(
    event: Event[ModelRegistered], uow: UnitOfWork, context: MonitorContext
) -> None:
    await reference_from_dataset.register_version(uow, event.data)
    uow.after_commit.append(context.signals.profiles.set)


async def on_training_finished(
    event: Event[TrainingFinished], uow: UnitOfWork, context: MonitorContext
) -> None:
    await request_tracking.run_finished(uow, event)
    uow.after_commit.append(context.signals.review.set)


async def on_deployment_promoted(
    event: Event[DeploymentPromoted], uow: UnitOfWork, context: MonitorContext
) -> None:
    data = event.data
    if data.environment != context.environment:
        return
    why = f"version {data.version} took over"
    await request_tracking.champion_changed(uow, data, data.version, why, event.time)
    await canary_labels.begin_counting(uow, event)
    uow.after_commit.append(context.signals.labels.set)


async def on_deployment_rolled_back(
    event: Event[DeploymentRolledBack], uow: UnitOfWork, context: MonitorContext
) -> None:
    """A promotion undone; a canary taken back leaves the champion as it was."""
    data = event.data
    if data.environment != context.environment or data.previous is None:
        return
    why = f"version {data.version} was rolled back, version {data.previous} serves again"
    await request_tracking.champion_changed(uow, data, data.previous, why, event.time)
    await canary_labels.end_counting(uow, event)


async def on_deployment_finished(
    event: Event[DeploymentFinished], uow: UnitOfWork, context: MonitorContext
) -> None:
    if event.data.environment != context.environment:
        return
    await request_tracking.deployment_finished(uow, event)
    uow.after_commit.append(context.signals.review.set)


LIFECYCLE_HANDLERS: BoundBy[MonitorContext] = {
    ModelRegistered: on_model_registered,
    TrainingFinished: on_training_finished,
    DeploymentPromoted: on_deployment_promoted,
    DeploymentRolledBack: on_deployment_rolled_back,
    DeploymentFinished: on_deployment_finished,
}
DETECT_HANDLERS: BoundBy[MonitorContext] = {InferenceLogged: on_inference_logged}
CAPTURE_HANDLERS: BoundBy[MonitorContext] = {
    InferenceLogged: TwoPhaseHandler(write_capture, record_capture),
    GroundTruthLogged: TwoPhaseHandler(prepare_measuring, record_labels),
}
HANDLERS: dict[str, BoundBy[MonitorContext]] = {
    "monitor.lifecycle": LIFECYCLE_HANDLERS,
    "monitor.detect": DETECT_HANDLERS,
    "monitor.capture": CAPTURE_HANDLERS,
}
"""What each consumer does, by its name."""
