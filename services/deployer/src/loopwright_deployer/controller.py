"""Looks for deployments to work on, woken by commits, reports and timers.

Each deployment in flight is in the hands of one replica at a time. What awaits a person or its turn
is in nobody's: every replica looks at it, and whichever first sees that its time is up or its
canary fails writes so in one transaction. A poll reads a few columns of many deployments; what
waits with traffic is looked at where they say that there is something new to decide by.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence, Set
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
from loopwright_deployer.routing.canary_observer import CanaryObserver
from loopwright_deployer.routing.evidence import Situation, situations
from loopwright_deployer.staging.runner import StagingRunner

log = structlog.get_logger()
_POLL_SECONDS = 1.0
_SOON_SECONDS = 0.1
_BETWEEN_POLLS_SECONDS = 0.02
_IDLE_SECONDS = 2.0
"""Warm processes start when nothing has been staged for so long, also after a start."""
_NEXT_POLL = timedelta(seconds=2 * _POLL_SECONDS)
_MAX_BEING_STAGED = 2
"""One is packaged while another is staged; more are left for other replicas to take."""


@dataclass(slots=True)
class _RunningTask:
    """A task on one deployment as last polled; `again` tells it that something has changed."""

    task: asyncio.Task[None]
    again: asyncio.Event
    seen: DeploymentStatus


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
        self._observer = CanaryObserver(database, replicas)
        self._reconciler = Reconciler(database, staging, self._observer, lease, self.wake)
        self._changed = asyncio.Event()
        self._running: dict[str, _RunningTask] = {}
        self._situations: dict[str, Situation] = {}
        self._with_traffic: set[ModelKey] = set()
        self._busy_at = time.monotonic()
        self._woken: set[ModelKey] = set()
        self._looks_at_all_at = time.monotonic()

    def wake(self, model: ModelKey) -> None:
        """Look at the model's deployments again; call it once a change can be read."""
        self._woken.add(model)
        self._changed.set()

    def count(self, model: ModelKey) -> None:
        """Look again at what is judged by the model's counters; call it once they can be read.

        What is not known yet to have traffic is looked at when it is.
        """
        if model not in self._with_traffic:
            return
        for running in self._running.values():
            if running.seen.model_key == model and running.seen.carries_traffic:
                running.again.set()
                return
        self.wake(model)

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.to_thread(self._staging.clean)
        # A verdict before the replicas' reports are read would call them all silent.
        await self._replicas.ready.wait()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wake_on_reports())
                # Silent replicas and what other deployers did come without a wake.
                await work_on_wake(
                    self._changed,
                    partial(self._poll, group),
                    name="deployer",
                    every=_POLL_SECONDS,
                    rest=_BETWEEN_POLLS_SECONDS,
                )
        finally:
            await self._reconciler.drain()

    async def _poll(self, group: asyncio.TaskGroup) -> None:
        """A task for every deployment that has work and is free, and none for one that has ended.

        What waits with traffic is looked at again where its model was woken, or anything has
        changed by which it is decided.
        """
        woken, everything = self._asked_for()
        if not woken and not everything:
            return
        try:
            async with self._database.read() as connection:
                flying = await Deployments(connection).in_flight(None if everything else woken)
                found = await situations(connection, flying, self._observer.reports)
                free = self._free(flying, woken, found)
                taken = await owned(connection, [one.id for one in free])
        except UnavailableError:
            self._woken |= woken
            raise
        self._note(flying, woken, everything)
        for one in _may_move(flying):
            running = self._running.get(one.id)
            if running and (one.model_key in woken or self._is_news(one, found)):
                running.again.set()
        for one in self._within_limits([one for one in free if one.id not in taken]):
            again = asyncio.Event()
            task = group.create_task(self._work_on(one, again))
            self._running[one.id] = _RunningTask(task, again, one)
        # What another has in hand stays news until it lets go.
        known = {one_id: each for one_id, each in found.items() if one_id not in taken}
        self._situations = known if everything else {**self._situations, **known}
        with_traffic = {one.model_key for one in flying if one.carries_traffic}
        self._with_traffic = with_traffic if everything else self._with_traffic | with_traffic
        if everything:
            self._observer.canaries = len(self._situations)
            self._set_alarms(flying)
            await self._warm_up(flying)

    def _asked_for(self) -> tuple[set[ModelKey], bool]:
        """The models that were woken since the last poll, and whether all are due, now and then."""
        woken, self._woken = self._woken, set()
        if time.monotonic() < self._looks_at_all_at:
            return woken, False
        self._looks_at_all_at = time.monotonic() + _POLL_SECONDS / 2
        return woken, True

    def _is_news(self, one: DeploymentStatus, found: Mapping[str, Situation]) -> bool:
        return found.get(one.id) != self._situations.get(one.id)

    def _free(
        self,
        flying: Sequence[DeploymentStatus],
        woken: Set[ModelKey],
        found: Mapping[str, Situation],
    ) -> list[DeploymentStatus]:
        """What has work and no task of ours.

        A canary that is paused has some only when there is news of it.
        """
        now = clock.now()
        return [
            one
            for one in _may_move(flying)
            if one.id not in self._running
            and one.has_work(now)
            and (
                one.state not in AWAITS_PERSON
                or not one.in_canary
                or one.model_key in woken
                or self._is_news(one, found)
            )
        ]

    def _within_limits(self, free: Sequence[DeploymentStatus]) -> list[DeploymentStatus]:
        """Those there is room for: of long work only so much."""
        staged = sum(running.seen.state in BEING_STAGED for running in self._running.values())
        long = [one.id for one in free if one.state in BEING_STAGED]
        too_many = set(long[max(_MAX_BEING_STAGED - staged, 0) :])
        return [one for one in free if one.id not in too_many]

    def _note(
        self, flying: Sequence[DeploymentStatus], woken: Set[ModelKey], everything: bool
    ) -> None:
        """Where the deployments are by now that there are tasks on; those that have ended end."""
        now = {one.id: one for one in flying}
        for one_id, running in list(self._running.items()):
            was = running.seen
            if one_id in now:
                running.seen = now[one_id]
            elif everything or was.model_key in woken:
                self._running.pop(one_id).task.cancel()
                log.info("deployer.released", deployment=one_id, why="it has ended")
            if was.state in BEING_STAGED and running.seen.state not in BEING_STAGED:
                self._look_at_all()

    def _look_at_all(self) -> None:
        """There may be room now for what is to be staged of another model."""
        self._looks_at_all_at = time.monotonic()
        self._changed.set()

    def _set_alarms(self, flying: Sequence[DeploymentStatus]) -> None:
        """Whatever comes due before all are polled again is looked at in time."""
        now, loop = clock.now(), asyncio.get_running_loop()
        for one in flying:
            for due in (one.deadline, one.retry_at):
                if due is not None and timedelta() < due - now <= _NEXT_POLL:
                    loop.call_later((due - now).total_seconds() + 0.001, self.wake, one.model_key)

    async def _warm_up(self, flying: Sequence[DeploymentStatus]) -> None:
        if any(_is_being_staged(one) for one in flying):
            self._busy_at = time.monotonic()
        elif time.monotonic() - self._busy_at > _IDLE_SECONDS:
            await self._staging.warm_up()

    async def _work_on(self, seen: DeploymentStatus, again: asyncio.Event) -> None:
        after: float | None = _POLL_SECONDS
        try:
            after = await self._do(seen, again)
        except (LeaseLostError, UnavailableError) as error:
            log.warning("deployer.released", deployment=seen.id, why=str(error))
        except Exception:
            # Whatever it is, another poll comes, and must not find the other deployments stopped.
            log.exception("deployer.failed", deployment=seen.id)
        finally:
            self._forget(seen.id)
        if after is not None:
            asyncio.get_running_loop().call_later(after, self.wake, seen.model_key)

    async def _do(self, seen: DeploymentStatus, again: asyncio.Event) -> float | None:
        """The seconds until the deployment is looked at even without news; None for never."""
        if seen.state not in AWAITS_PERSON:
            await self._reconciler.reconcile(seen.id, again)
            return 0.0
        outcome = await self._reconciler.check_once(seen.id)
        return 0.0 if again.is_set() else outcome.after_seconds

    def _forget(self, deployment_id: str) -> None:
        running = self._running.get(deployment_id)
        if running is not None and running.task is asyncio.current_task():
            del self._running[deployment_id]
            if running.seen.state in BEING_STAGED:
                self._look_at_all()

    async def _wake_on_reports(self) -> None:
        """Whatever a replica reports, a version may wait for it; soon, since reports are many."""
        while True:
            await self._replicas.changed.wait()
            self._replicas.changed.clear()
            self._looks_at_all_at = min(self._looks_at_all_at, time.monotonic() + _SOON_SECONDS)
            await asyncio.sleep(_SOON_SECONDS)
            self._changed.set()


def _may_move(flying: Sequence[DeploymentStatus]) -> Iterable[DeploymentStatus]:
    """All but what waits for a version that has a share of the traffic as before."""
    with_traffic = {one.model_key: one for one in flying if one.carries_traffic}
    return (one for one in flying if not _still_waits(one, with_traffic))


def _still_waits(one: DeploymentStatus, with_traffic: Mapping[ModelKey, DeploymentStatus]) -> bool:
    """Whether it waits for the version that has a share of the traffic, and says so."""
    other = with_traffic.get(one.model_key)
    if other is None or other.id == one.id or one.state is not DeploymentState.VALIDATED:
        return False
    return one.waits == what_ends_the_wait(other)


def _is_being_staged(one: DeploymentStatus) -> bool:
    return one.state in BEING_STAGED and not one.is_postponed(clock.now())
