"""Looks for deployments to work on, woken by commits, reports and timers.

Each deployment in flight is in the hands of one replica at a time. What awaits a person is in
nobody's: every replica looks at it, and whichever first sees that its time is up or its canary
fails writes so in one transaction.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
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
from loopwright_deployer.deployments.domain import (
    AWAITS_PERSON,
    BEING_STAGED,
    DeploymentState,
    DeploymentStatus,
    ModelKey,
    what_ends_the_wait,
)
from loopwright_deployer.deployments.ownership import owned
from loopwright_deployer.deployments.repository import Deployments
from loopwright_deployer.reconciler import Reconciler
from loopwright_deployer.staging.runner import StagingRunner

log = structlog.get_logger()
_POLL_SECONDS = 1.0
_SOON_SECONDS = 0.1
_IDLE_SECONDS = 2.0
"""Warm processes start when nothing has been staged for so long, also after a start."""
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
        self._woken: set[ModelKey] = set()
        self._looks_at_all_at = time.monotonic()

    def wake(self, model: ModelKey) -> None:
        """Look at the model's deployments again; call it once a change can be read."""
        self._woken.add(model)
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
            asked_for = self._asked_for()
            flying = await Deployments(connection).in_flight()
            taken = await owned(connection, [one.id for one in flying])
        for ended in self._running.keys() - {one.id for one in flying}:
            self._running.pop(ended).task.cancel()
            log.info("deployer.released", deployment=ended, why="it has ended")
        asked = [one for one in flying if asked_for is None or one.model_key in asked_for]
        for one in _may_move(asked, flying):
            if one.id in self._running:
                self._running[one.id].again.set()
        for one in self._free(asked, flying, taken):
            again = asyncio.Event()
            task = group.create_task(self._work_on(one, again))
            self._running[one.id] = _RunningTask(task, again)
        if any(_is_being_staged(one) for one in flying):
            self._busy_at = time.monotonic()
        elif time.monotonic() - self._busy_at > _IDLE_SECONDS:
            await self._staging.warm_up()

    def _asked_for(self) -> set[ModelKey] | None:
        """The models that were woken since the last look; None for all, now and then."""
        woken, self._woken = self._woken, set()
        if time.monotonic() < self._looks_at_all_at:
            return woken
        self._looks_at_all_at = time.monotonic() + _POLL_SECONDS / 2
        return None

    def _free(
        self, asked: Sequence[DeploymentStatus], flying: Sequence[DeploymentStatus], taken: set[str]
    ) -> list[DeploymentStatus]:
        """What nobody works on; of long work no more than there is room for."""
        now = clock.now()
        free = [
            one
            for one in asked
            if one.id not in taken and one.id not in self._running and one.has_work(now)
        ]
        staged = sum(one.id in self._running for one in flying if one.state in BEING_STAGED)
        long = [one.id for one in free if one.state in BEING_STAGED]
        too_many = set(long[max(_MAX_BEING_STAGED - staged, 0) :])
        return [one for one in free if one.id not in too_many]

    async def _work_on(self, seen: DeploymentStatus, again: asyncio.Event) -> None:
        moved = False
        try:
            if seen.state in AWAITS_PERSON:
                moved = await self._reconciler.check_once(seen.id)
            else:
                moved = await self._reconciler.reconcile(seen.id, again)
        except (LeaseLostError, UnavailableError) as error:
            log.warning("deployer.released", deployment=seen.id, why=str(error))
        except Exception:
            # Whatever it is, another poll comes, and must not find the other deployments stopped.
            log.exception("deployer.failed", deployment=seen.id)
        finally:
            running = self._running.get(seen.id)
            if running is not None and running.task is asyncio.current_task():
                del self._running[seen.id]
            if moved:
                # There may be room now for what is to be staged of another model.
                self._looks_at_all_at = time.monotonic()
                self.wake(seen.model_key)

    async def _wake_on_reports(self) -> None:
        """Whatever a replica reports, a version may wait for it; soon, since reports are many."""
        while True:
            await self._replicas.changed.wait()
            self._replicas.changed.clear()
            self._looks_at_all_at = min(self._looks_at_all_at, time.monotonic() + _SOON_SECONDS)
            await asyncio.sleep(_SOON_SECONDS)
            self._changed.set()


def _may_move(
    asked: Sequence[DeploymentStatus], flying: Sequence[DeploymentStatus]
) -> Iterable[DeploymentStatus]:
    """All but what waits for a version that has a share of the traffic as before."""
    with_traffic = {one.model_key: one for one in flying if one.carries_traffic}
    return (one for one in asked if not _still_waits(one, with_traffic))


def _still_waits(one: DeploymentStatus, with_traffic: Mapping[ModelKey, DeploymentStatus]) -> bool:
    """Whether it waits for the version that has a share of the traffic, and says so."""
    other = with_traffic.get(one.model_key)
    if other is None or other.id == one.id or one.state is not DeploymentState.VALIDATED:
        return False
    return one.waits == what_ends_the_wait(other)


def _is_being_staged(one: DeploymentStatus) -> bool:
    return one.state in BEING_STAGED and not one.is_postponed(clock.now())
