"""The heartbeat of this replica: what it serves, every few seconds and at once on a change."""

import asyncio

import structlog

from loopwright_common import clock
from loopwright_common.bus import EventBus
from loopwright_common.cloudevents import OutgoingRecord
from loopwright_common.errors import UnavailableError
from loopwright_common.events import ReplicaReported
from loopwright_scorer.new_event import new_event
from loopwright_scorer.routing.canary_counters import ReplicaIdentity
from loopwright_scorer.routing.route_reconciler import RouteReconciler

log = structlog.get_logger()


class Heartbeat:
    """Publishes `replica-reported`; what cannot leave now is overtaken by the next report."""

    def __init__(
        self, bus: EventBus, replica: ReplicaIdentity, reconciler: RouteReconciler, every: float
    ) -> None:
        """`every` in seconds."""
        self._bus = bus
        self._replica = replica
        self._reconciler = reconciler
        self._changed = reconciler.changed
        self._every = every

    async def run(self) -> None:
        while True:
            self._changed.clear()
            await self._publish(self._report())
            try:
                async with asyncio.timeout(self._every):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def deregister(self) -> None:
        """Take this replica off the table, so that nobody waits for its acknowledgement."""
        await self._publish(OutgoingRecord(ReplicaReported.topic, self._replica.name, {}, b""))

    def _report(self) -> OutgoingRecord:
        report = ReplicaReported(
            replica=self._replica.name,
            epoch=self._replica.epoch,
            environment=self._replica.environment,
            at=clock.now(),
            routes=self._reconciler.served_routes(),
        )
        return new_event(report, key=self._replica.name, subject=f"replicas/{self._replica.name}")

    async def _publish(self, record: OutgoingRecord) -> None:
        try:
            await self._bus.publish([record])
        except UnavailableError as error:
            log.warning("heartbeat.failed", error=str(error))
