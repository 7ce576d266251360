"""The scorer's composition: a service on the bus, or with `--static` one package without it."""

import argparse
import os
from contextlib import AsyncExitStack
from functools import partial

import uvloop

from loopwright_common.bus import EventBus, TableReader
from loopwright_common.errors import LoopwrightError
from loopwright_common.events import RoutesChanged
from loopwright_common.ids import new_id
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process import runtime
from loopwright_common.process.service import Service
from loopwright_common.process.subprocesses import take_stdout
from loopwright_common.sandbox import require
from loopwright_common.storage import ArtifactStore, open_store
from loopwright_common.web.app import add_routes, create_app
from loopwright_common.web.guard import RequestGuard
from loopwright_common.web.request_limits import RequestLimits
from loopwright_scorer import workers
from loopwright_scorer.api import create_router
from loopwright_scorer.feedback import FeedbackPublisher
from loopwright_scorer.http_server.dispatcher import ProtocolRouter, refusing_as
from loopwright_scorer.http_server.fast_path import FastPathProtocol
from loopwright_scorer.http_server.multiprocess_metrics import MultiprocessMetrics
from loopwright_scorer.http_server.protocols import http_protocols
from loopwright_scorer.inference.call_metrics import CallMetrics
from loopwright_scorer.inference.call_recorder import CallRecorder, CallStats
from loopwright_scorer.inference.executor import InferenceExecutor
from loopwright_scorer.inference.prediction_ids import PredictionIds, load_key, shared_key
from loopwright_scorer.inference.second_opinions import SecondOpinions
from loopwright_scorer.inference.service import InferenceService
from loopwright_scorer.inference.shadow_scoring import ShadowScoring
from loopwright_scorer.isolated.limits import (
    IsolatedMetrics,
    IsolationConfig,
    nothing_quarantined,
)
from loopwright_scorer.models.memory_manager import MemoryManager
from loopwright_scorer.models.package_cache import PackageCache
from loopwright_scorer.process_tuning import tune_process
from loopwright_scorer.protocols.model_repository import ModelRepository
from loopwright_scorer.protocols.request import InferenceLimits
from loopwright_scorer.recording.offloaded_inputs import InputOffloader
from loopwright_scorer.recording.publisher import BatchPublisher
from loopwright_scorer.recording.record_buffer import RecordBudget
from loopwright_scorer.recording.recorder import Recorder, RecordingMetrics
from loopwright_scorer.recording.spill import SpillDirectory
from loopwright_scorer.routing.canary_counters import CounterPublisher, ReplicaIdentity
from loopwright_scorer.routing.heartbeat import Heartbeat
from loopwright_scorer.routing.route_reconciler import RouteReconciler
from loopwright_scorer.routing.routes import Routes
from loopwright_scorer.settings import ScorerSettings
from loopwright_scorer.watchdog.replica_watchdog import ReplicaWatchdog

_SHUTDOWN_GRACE_SECONDS = 12.0
"""How long calls in flight may take to be answered when the scorer stops."""


async def build(
    settings: ScorerSettings,
    bus: EventBus,
    stack: AsyncExitStack,
    *,
    shares_process: bool = False,
    watched: bool = False,
) -> Service:
    """A replica that serves what `routes-changed` says.

    In a process with other services only what is proven to be bounded computes; `watched` ends the
    process in which a computation does harm.
    """
    metrics = Metrics()
    cache = settings.cache_dir
    stack.enter_context(settings.own_directory())
    watchdog = _watchdog(settings, stack) if watched else None
    replica = ReplicaIdentity(settings.replica_name, new_id(), settings.environment)
    routes = Routes()
    store = open_store(settings.artifact_store)
    isolation = _isolation(settings, metrics, watchdog, shares_process=shares_process)
    package_cache = PackageCache(
        store, cache / "packages", isolation, watchdog.slots if watchdog else None
    )
    memory_manager = MemoryManager(package_cache, settings.memory_budget, metrics.registry)
    reconciler = RouteReconciler(
        routes, package_cache, memory_manager, cache / "routes", settings.environment
    )
    reader = TableReader(bus, RoutesChanged, replaces=_is_newer)
    heartbeat = Heartbeat(bus, replica, reconciler, settings.heartbeat_interval)
    publisher, recorder = _recording(settings, metrics, bus, replica, store)
    counter_publisher = CounterPublisher(bus, replica)
    ids = PredictionIds(_key(settings))
    executor = InferenceExecutor(settings.queue_limit, memory_manager.load, metrics.registry)
    call_stats = CallStats(routes)
    metrics.registry.register(CallMetrics(call_stats))
    call_recorder = CallRecorder(routes, call_stats, counter_publisher, recorder.buffer)
    shadows, opinions = (
        ShadowScoring(
            executor, call_recorder, ids, metrics.registry, buffer=settings.shadow_buffer
        ),
        SecondOpinions(executor, metrics.registry),
    )
    inference_service = InferenceService(routes, ids, executor, call_recorder, shadows, opinions)
    repository = ModelRepository(routes, reconciler, memory_manager)
    protocols = http_protocols(
        inference_service, reconciler.not_ready_reason, call_stats, repository
    )
    guard = RequestGuard.of(settings, refusing_as(protocols))
    app = create_app("scorer", metrics, {"routes": reconciler.not_ready_reason}, guard)
    add_routes(app, create_router(FeedbackPublisher(bus, routes, ids), routes, reconciler))
    worker_metrics = MultiprocessMetrics(app, metrics.registry, cache)
    router = ProtocolRouter(
        protocols, worker_metrics, _inference_limits(settings, guard.limits), guard
    )
    service = Service(
        name="scorer",
        app=router,
        host=settings.host,
        port=settings.port,
        metrics=metrics,
        guard=guard,
        http=FastPathProtocol,
        drain_delay=settings.drain_delay,
        shutdown_grace=_SHUTDOWN_GRACE_SECONDS,
        loops=[
            reader.run,
            partial(reconciler.run, reader),
            heartbeat.run,
            recorder.run,
            publisher.resend,
            counter_publisher.run,
            shadows.run,
            opinions.run,
            *([watchdog.run] if watchdog else []),
        ],
        before_shutdown=[reconciler.start_draining],
        on_stop=[recorder.stop, counter_publisher.publish, heartbeat.deregister],
    )
    if settings.worker is not None:
        service.shares_port = True
        service.sockets.append(stack.enter_context(worker_metrics.listen()))
    if port := settings.port_of_grpc:
        # We start processes by exec, where gRPC's handlers of forks have only complaints to make.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        from loopwright_scorer.protocols.v2.grpc import GrpcInferenceService
        from loopwright_scorer.protocols.v2.grpc_server import attach_grpc

        grpc_service = GrpcInferenceService(
            inference_service, reconciler.not_ready_reason, call_stats, repository
        )
        stack.push_async_callback(attach_grpc(service, grpc_service, router.limits, port).stop)
    return service


def main() -> None:
    parser = argparse.ArgumentParser(prog="loopwright-scorer", description=__doc__)
    parser.add_argument(
        "--static", action="store_true", help="serve the one package named on standard input"
    )
    if parser.parse_args().static:
        from loopwright_scorer import staging_server

        raise SystemExit(staging_server.main(take_stdout()))
    settings = ScorerSettings()
    if settings.workers > 1:
        _run_workers(settings)
        return
    tune_process()
    runtime.main(partial(build, watched=True), settings, new_loop=uvloop.new_event_loop)


def _run_workers(settings: ScorerSettings) -> None:
    try:
        workers.run(settings)
    except LoopwrightError as error:
        raise SystemExit(str(error)) from None


def _recording(
    settings: ScorerSettings,
    metrics: Metrics,
    bus: EventBus,
    replica: ReplicaIdentity,
    store: ArtifactStore,
) -> tuple[BatchPublisher, Recorder]:
    recording_metrics = RecordingMetrics(metrics.registry)
    spill = SpillDirectory(settings.cache_dir / "spill", settings.spill_limit)
    publisher = BatchPublisher(bus, spill, recording_metrics.waiting)
    recorder = Recorder(
        publisher,
        replica,
        recording_metrics,
        InputOffloader(store, metrics.registry),
        every=settings.record_interval,
        rows=settings.record_rows,
        budget=RecordBudget(settings.record_buffer, settings.record_rate),
    )
    return publisher, recorder


def _watchdog(settings: ScorerSettings, stack: AsyncExitStack) -> ReplicaWatchdog:
    watchdog = ReplicaWatchdog(settings.cache_dir, settings.memory_limit)
    stack.callback(watchdog.stop)
    return watchdog


def _isolation(
    settings: ScorerSettings,
    metrics: Metrics,
    watchdog: ReplicaWatchdog | None,
    *,
    shares_process: bool,
) -> IsolationConfig:
    isolation = IsolationConfig(
        settings.cache_dir / "isolated",
        index_access=settings.index_access,
        limits=settings.isolated_limits,
        sandbox=require(settings.sandbox_minimum),
        metrics=IsolatedMetrics(metrics.registry),
        shares_process=shares_process,
        quarantine_reason=watchdog.quarantine_reason if watchdog else nothing_quarantined,
    )
    isolation.remove_leftovers()
    return isolation


def _inference_limits(settings: ScorerSettings, limits: RequestLimits) -> InferenceLimits:
    """The limits of inference, within the memory that all requests have."""
    return InferenceLimits(
        limits.memory,
        settings.largest_inference,
        min(settings.largest_json, settings.largest_inference),
        limits.largest_body,
        limits.body_seconds,
    )


def _is_newer(old: RoutesChanged, new: RoutesChanged) -> bool:
    return new.revision > old.revision


def _key(settings: ScorerSettings) -> bytes:
    if settings.prediction_key is not None:
        return shared_key(settings.prediction_key.get_secret_value())
    return load_key(settings.key_file)


if __name__ == "__main__":
    main()
