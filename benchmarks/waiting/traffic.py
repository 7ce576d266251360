"""One scorer replica as the deployer hears of it: it serves what is routed, and counts calls."""

import asyncio
import time
from bisect import bisect_left

from benchmarks.waiting.seeding import ENVIRONMENT
from loopwright_common import clock
from loopwright_common.bus import EventBus, TableReader
from loopwright_common.cloudevents import OutgoingRecord
from loopwright_common.events import ReplicaReported, RoutesChanged, ServedRoute, ServingMeasured
from loopwright_scorer.new_event import new_event
from loopwright_scorer.routing.canary_counters import LATENCY_EDGES

_HEARTBEAT_SECONDS = 5.0
_ANSWER_SECONDS = 0.004
_CALLS = 20
"""Of each model, each second."""


class Replica:
    """Calls come of `busy` models each second; counters are as cumulative as a scorer's."""

    def __init__(self, bus: EventBus) -> None:
        self.routes = TableReader(bus, RoutesChanged)
        self.busy = 0
        self._bus = bus
        self._counts: dict[tuple[str, int, int], tuple[int, int]] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.routes.run())
            group.create_task(self._report())
            group.create_task(self._count())

    async def fail(self, model: str) -> float:
        """Most of the canary's calls fail; returns when that was told."""
        route = self.routes.rows[f"{ENVIRONMENT}/{model}"].data
        canary = min(route.arms, key=lambda arm: arm.weight).version
        told = time.time()
        await self._bus.publish([self._measured(route, canary, 200, 180)])
        return told

    async def _report(self) -> None:
        await self.routes.ready.wait()
        while True:
            self.routes.changed.clear()
            routes = [row.data for row in self.routes.rows.values()]
            served = [ServedRoute(model_id=r.model_id, revision=r.revision) for r in routes]
            report = ReplicaReported(
                replica="r1", epoch="e1", environment=ENVIRONMENT, at=clock.now(), routes=served
            )
            await self._bus.publish([new_event(report, key="r1", subject="replicas/r1")])
            await asyncio.sleep(0.1)
            try:
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await self.routes.changed.wait()
            except TimeoutError:
                pass

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            routes = [self.routes.rows[key].data for key in sorted(self.routes.rows)][: self.busy]
            await self._bus.publish(
                [
                    self._measured(route, arm.version, max(round(_CALLS * arm.weight), 1), 0)
                    for route in routes
                    for arm in route.arms
                ]
            )

    def _measured(
        self, route: RoutesChanged, version: int, calls: int, errors: int
    ) -> OutgoingRecord:
        key = (route.model_id, route.revision, version)
        before = self._counts.get(key, (0, 0))
        all_calls, all_errors = before[0] + calls, before[1] + errors
        self._counts[key] = all_calls, all_errors
        latency = [0] * (len(LATENCY_EDGES) + 1)
        latency[bisect_left(LATENCY_EDGES, _ANSWER_SECONDS)] = all_calls
        measured = ServingMeasured(
            environment=ENVIRONMENT,
            model_id=route.model_id,
            model=route.model,
            replica="r1",
            epoch="e1",
            revision=route.revision,
            version=version,
            role="live",
            calls=all_calls,
            rows=all_calls,
            errors=all_errors,
            latency_edges=LATENCY_EDGES,
            latency_counts=latency,
        )
        return new_event(
            measured,
            key=f"{ENVIRONMENT}/{route.model_id}",
            subject=f"models/{route.model}/versions/{version}",
        )
