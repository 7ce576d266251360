"""Keeps what deployer and replicas share in order.

Routes that got lost, replicas that are gone, champions that do harm.
"""

import asyncio
from datetime import datetime

import structlog

from loopwright_common import clock
from loopwright_common.bus import EventBus, TableReader
from loopwright_common.cloudevents import OutgoingRecord
from loopwright_common.database import Database
from loopwright_common.events import ReplicaReported
from loopwright_common.process.worker_loop import work_on_wake
from loopwright_deployer.canary.acknowledgement import (
    LOADING_TIME,
    PublishedRevision,
    harm_of,
    is_silent,
    missed_by,
)
from loopwright_deployer.deployments.domain import DeploymentStatus
from loopwright_deployer.deployments.repository import Deployments
from loopwright_deployer.routing import route_revisions
from loopwright_deployer.routing.routes import RouteRevisions, RouteRow

log = structlog.get_logger()
_EVERY_SECONDS = LOADING_TIME.total_seconds()


class RouteReconciliation:
    """Repeats a route that a live replica has missed, takes silent replicas off their table, and
    asks for help where a replica has trouble with a champion.

    Each deployer does so: both may be done twice, without harm.
    """

    def __init__(
        self, database: Database, bus: EventBus, replicas: TableReader[ReplicaReported]
    ) -> None:
        self._database = database
        self._bus = bus
        self._replicas = replicas
        self._suspects: dict[str, datetime] = {}

    async def run(self) -> None:
        """Until cancelled."""
        await self._replicas.ready.wait()
        await work_on_wake(
            asyncio.Event(), self.reconcile_once, name="deployer.routes", every=_EVERY_SECONDS
        )

    async def reconcile_once(self) -> None:
        """Repeat each route that a live replica missed.

        UnavailableError while the bus or the database is away.
        """
        await self._forget_silent()
        async with self._database.read() as connection:
            rows = await RouteRevisions(connection).all()
            champions = {one.model_key: one for one in await Deployments(connection).serving()}
        for row in rows:
            await self._repeat_if_missed(row)
            if champion := champions.get((row.environment, row.model_id)):
                await self._ask_for_help(row, champion)

    async def _forget_silent(self) -> None:
        """At the second look: a deployer that was itself away has read the reports by then."""
        now, rows = clock.now(), self._replicas.rows
        silent = {key: row.data.at for key, row in rows.items() if is_silent(row.data, now)}
        gone = [key for key, at in silent.items() if self._suspects.get(key) == at]
        self._suspects = silent
        for replica in gone:
            log.info("replica.silent", replica=replica)
        await self._bus.publish(
            [OutgoingRecord(ReplicaReported.topic, one, {}, b"") for one in gone]
        )

    async def _ask_for_help(self, row: RouteRow, champion: DeploymentStatus) -> None:
        """A champion that does harm is not taken away without another: a person has to decide."""
        revision = row.route.revision
        served = PublishedRevision(
            row.environment, row.model_id, revision, row.changed_at, champion.version
        )
        reports = [event.data for event in self._replicas.rows.values()]
        harm = harm_of(served, reports, clock.now())
        waits = f"needs a person: {harm}; roll back or promote another version" if harm else None
        if waits == champion.waits:
            return
        log.error("champion.harmful", model=row.model, version=champion.version, why=harm)
        async with self._database.unit_of_work() as uow:
            await Deployments(uow.connection).set_waiting_reason(champion, waits)

    async def _repeat_if_missed(self, row: RouteRow) -> None:
        wanted = PublishedRevision(
            row.environment, row.model_id, row.route.revision, row.changed_at
        )
        reports = [event.data for event in self._replicas.rows.values()]
        if not (missed := missed_by(wanted, reports, clock.now())):
            return
        log.warning("route.missed", model=row.model, revision=wanted.revision, replicas=missed)
        async with self._database.unit_of_work() as uow:
            await route_revisions.republish_route(uow, row)
