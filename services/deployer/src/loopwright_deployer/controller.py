"""Looks for deployments to work on, woken by commits, reports and timers.

Each deployment in flight is in the hands of one replica at a time. What awaits a person is in
nobody's: every replica looks at it, and whichever first sees that its time is up or its canary
fails writes so in one transaction.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from loopwright_common import clock
from loopwright_common.bus import TableReader
from loopwright_common.database import Database
from loopwright_common.database.leases import LEASE, LeaseLostError
from loopwright_common.errors import UnavailableError
from loopwright_common.events import ReplicaReported
from loopwright_common.process.worker_loop import work_on_wake
from loopwright_deployer.deployments.domain import AWAITS_PERSON, BEING_STAGED
from loopwright_deployer.deployments.ownership import owned
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.reconciler import Reconciler
from loopwright_deployer.staging.runner import StagingRunner

log = structlog.get_logger()
_POLL_SECONDS = 1.0
_IDLE_SECONDS = 2.0
"""Warm processes start when nothing has been going on for so long, also after a start."""
_MAX_BEING_STAGED = 2
"""One is packaged while another is staged; more are left for other replicas to take."""


@dataclass(frozen=True, slots=True)
class _RunningTask:
    """A task on one deployment; `again` tells it that something may have changed."""

    task: asyncio.Task[None]
    again: asyncio.Event


class DeploymentController:
    """One of the replicas that share the deployments in flight."""

    def __init__(
        self,
        database: Database,
        staging: StagingRunner,
        replicas: TableReader[ReplicaReported],
        lease: timedelta = LEASE,
    ) -> None:
        self._database = database
        self._staging = staging
        self._replicas = replicas
        self._reconciler = Reconciler(database, staging, replicas, lease)
        self._changed = asyncio.Event()
        self._running: dict[str, _RunningTask] = {}
        self._busy_at = time.monotonic()

    def wake(self) -> None:
        """Look at every deployment again; call it once a change can be read."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.to_thread(self._staging.clean)
        # A verdict before the replicas' reports are read would call them all silent.
        await self._replicas.ready.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wake_on_reports())
            # Deadlines, silent replicas and what other deployers did come without a wake.
            poll = partial(self._poll, group)
            await work_on_wake(self._changed, poll, name="deployer", every=_POLL_SECONDS)

    async def _poll(self, group: asyncio.TaskGroup) -> None:
        """A task for every deployment that is free, and none for one that has ended."""
        async with self._database.read() as connection:
            records = await Deployments(connection).in_flight()
            ids = [record.deployment.id for record in records]
            taken = await owned(connection, ids)
        for ended in self._running.keys() - set(ids):
            self._running.pop(ended).task.cancel()
            log.info("deployer.released", deployment=ended, why="it has ended")
        for running in self._running.values():
            running.again.set()
        for record in self._free(records, taken):
            again = asyncio.Event()
            task = group.create_task(self._work_on(record, again))
            self._running[record.deployment.id] = _RunningTask(task, again)
        if any(_needs_work(record) for record in records):
            self._busy_at = time.monotonic()
        elif time.monotonic() - self._busy_at > _IDLE_SECONDS:
            await self._staging.warm_up()

    def _free(self, records: Sequence[DeploymentRecord], taken: set[str]) -> list[DeploymentRecord]:
        """What nobody works on; of long work no more than there is room for."""
        now = clock.now()
        due = [record for record in records if not record.deployment.is_postponed(now)]
        long = [r.deployment.id for r in due if r.deployment.state in BEING_STAGED]
        waiting = [one for one in long if one not in taken and one not in self._running]
        room = _MAX_BEING_STAGED - sum(one in self._running for one in long)
        others = taken | self._running.keys() | set(waiting[max(room, 0) :])
        return [record for record in due if record.deployment.id not in others]

    async def _work_on(self, record: DeploymentRecord, again: asyncio.Event) -> None:
        deployment, moved = record.deployment, False
        try:
            if deployment.state in AWAITS_PERSON:
                moved = await self._reconciler.check_once(record)
            else:
                moved = await self._reconciler.reconcile(deployment.id, again)
        except (LeaseLostError, UnavailableError) as error:
            log.warning("deployer.released", deployment=deployment.id, why=str(error))
        except Exception:
            # Whatever it is, another poll comes, and must not find the other deployments stopped.
            log.exception("deployer.failed", deployment=deployment.id)
        finally:
            running = self._running.get(deployment.id)
            if running is not None and running.task is asyncio.current_task():
                del self._running[deployment.id]
            if moved:
                self.wake()

    async def _wake_on_reports(self) -> None:
        while True:
            await self._replicas.changed.wait()
            self._replicas.changed.clear()
            self.wake()


def _needs_work(record: DeploymentRecord) -> bool:
    deployment = record.deployment
    return deployment.state not in AWAITS_PERSON and not deployment.is_postponed(clock.now())
