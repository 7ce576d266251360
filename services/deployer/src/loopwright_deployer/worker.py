"""Drives every deployment in flight, one task each, woken by commits, reports and timers."""

import asyncio
import time

import structlog

from loopwright_common.database import Database
from loopwright_common.errors import ConflictError, NotFoundError, UnavailableError
from loopwright_common.events import ReplicaReported
from loopwright_common.table_reader import TableReader
from loopwright_deployer.domain import AWAITS_PERSON
from loopwright_deployer.repository import Deployments, Record
from loopwright_deployer.steps import Steps
from loopwright_deployer.workshop import Workshop

log = structlog.get_logger()
_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_IDLE_SECONDS = 2.0
"""Spare processes start when nothing has been going on for so long, also after a start."""


class Worker:
    """All it needs to know is in the database, so a restart goes on where the last one ended."""

    def __init__(
        self, database: Database, workshop: Workshop, replicas: TableReader[ReplicaReported]
    ) -> None:
        self._database = database
        self._workshop = workshop
        self._replicas = replicas
        self._steps = Steps(database, workshop, replicas)
        self._changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._look_again: set[str] = set()
        self._busy_at = time.monotonic()

    def wake(self) -> None:
        """Look at every deployment again; call it once a change can be read."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.to_thread(self._workshop.clean)
        # A verdict before the replicas' reports are read would call them all silent.
        await self._replicas.ready.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_replicas())
            while True:
                self._changed.clear()
                await self._dispatch(group)
                await self._sleep()

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        """A task for every deployment in flight, and none for one that has ended."""
        try:
            async with self._database.read() as connection:
                records = await Deployments(connection).in_flight()
        except UnavailableError as error:
            log.warning("deployer.paused", error=str(error))
            return
        for gone in self._tasks.keys() - {record.deployment.id for record in records}:
            self._tasks.pop(gone).cancel()
        for record in records:
            if record.deployment.id in self._tasks:
                self._look_again.add(record.deployment.id)
            else:
                self._tasks[record.deployment.id] = group.create_task(self._step(record))
        if any(record.deployment.state not in AWAITS_PERSON for record in records):
            self._busy_at = time.monotonic()
        elif time.monotonic() - self._busy_at > _IDLE_SECONDS:
            await self._workshop.prepare()

    async def _step(self, record: Record) -> None:
        """One step of one deployment; a passing fault is tried again a little later."""
        deployment = record.deployment
        moved = True
        try:
            moved = await self._steps.by_state[deployment.state](record)
        except ConflictError as error:
            log.info("deployer.overtaken", deployment=deployment.id, why=str(error))
        except (UnavailableError, NotFoundError, TimeoutError) as error:
            log.warning("deployer.retries", deployment=deployment.id, error=repr(error))
            await self._retry_later(record, str(error) or "a call took too long")
        except Exception as error:
            # One deployment that cannot go on must not stop the others.
            log.exception("deployer.failed", deployment=deployment.id)
            await self._retry_later(record, f"unexpected {type(error).__name__}: {error}")
        finally:
            if self._tasks.get(deployment.id) is asyncio.current_task():
                del self._tasks[deployment.id]
            if moved or deployment.id in self._look_again:
                self._look_again.discard(deployment.id)
                self.wake()

    async def _retry_later(self, record: Record, fault: str) -> None:
        """Say what is in the way, and rest a moment."""
        try:
            await self._steps.explain(record, f"tries again: {fault}")
        except UnavailableError as error:
            log.warning("deployer.paused", error=str(error))
        await asyncio.sleep(_RETRY_SECONDS)

    async def _sleep(self) -> None:
        """Deadlines and silent replicas come without an event, hence a look each second."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _watch_replicas(self) -> None:
        while True:
            await self._replicas.changed.wait()
            self._replicas.changed.clear()
            self.wake()
