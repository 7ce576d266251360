"""What to do with a deployment in each state that asks for work; each step may be done again.

Packages are content-addressed, and a change of state is refused when the deployment is no longer
where the step began, so a step that a crash cut off is simply begun anew.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from loopwright_common import clock
from loopwright_common.database import Database
from loopwright_common.errors import CorruptError, InvalidError, NotFoundError
from loopwright_common.events import Check, ReplicaReported
from loopwright_common.failpoints import failpoint
from loopwright_common.table_reader import TableReader
from loopwright_deployer import service, traffic
from loopwright_deployer.domain import State
from loopwright_deployer.judge import added, tally
from loopwright_deployer.measures import Counters
from loopwright_deployer.replicas import Acknowledgement, Wanted, acknowledgement
from loopwright_deployer.repository import Deployments, Record
from loopwright_deployer.rollout import Evidence, decide
from loopwright_deployer.routes import RouteRow, Routes
from loopwright_deployer.workshop import Workshop

Step = Callable[[Record], Awaitable[bool]]


class Steps:
    """`by_state` gives the step of a state; it returns whether the deployment moved on."""

    def __init__(
        self, database: Database, workshop: Workshop, replicas: TableReader[ReplicaReported]
    ) -> None:
        self._database = database
        self._workshop = workshop
        self._replicas = replicas
        self.by_state: Mapping[State, Step] = {
            State.RECEIVED: self._start,
            State.PACKAGING: self._package,
            State.STAGING: self._stage,
            State.VALIDATED: self._enter,
            State.APPROVAL: self._await_approval,
            State.CANARY: self._judge,
            State.PAUSED: self._guard,
            State.PROMOTING: self._await_acknowledgement,
        }

    async def _start(self, record: Record) -> bool:
        async with self._database.unit_of_work() as uow:
            await service.advance(uow, record, State.PACKAGING, "building the serving package")
        return True

    async def _package(self, record: Record) -> bool:
        champion = await self._champion(record)
        await self._workshop.expect_staging(scorers=2 if champion else 1)
        try:
            done = await self._workshop.package(record)
        except (InvalidError, CorruptError) as error:
            return await self._reject(record, str(error))
        failpoint("deployer.packaged")
        async with self._database.unit_of_work() as uow:
            await service.packaged(uow, record, done.served, done.why)
        return True

    async def _stage(self, record: Record) -> bool:
        champion = await self._champion(record)
        try:
            checks = await self._workshop.stage(record, champion)
        except (InvalidError, CorruptError) as error:
            return await self._reject(record, f"the staging scorer does not serve it: {error}")
        report = await self._workshop.report(record, checks)
        failpoint("deployer.staged")
        async with self._database.unit_of_work() as uow:
            await service.validated(uow, record, checks, report)
        return True

    async def _champion(self, record: Record) -> Record | None:
        deployment = record.deployment
        async with self._database.read() as connection:
            return await Deployments(connection).champion(
                deployment.environment, deployment.model_id
            )

    async def _reject(self, record: Record, why: str) -> bool:
        async with self._database.unit_of_work() as uow:
            await service.reject(uow, record, why)
        return True

    async def _enter(self, record: Record) -> bool:
        async with self._database.unit_of_work() as uow:
            return await traffic.enter(uow, record)

    async def _await_approval(self, record: Record) -> bool:
        deadline = record.deployment.deadline
        if deadline is None or clock.now() < deadline:
            return False
        async with self._database.unit_of_work() as uow:
            await traffic.approval_expired(uow, record)
        return True

    async def _judge(self, record: Record) -> bool:
        decision = decide(record.policy, record.deployment.step, await self._evidence(record))
        if decision.action == "wait":
            return await self.explain(record, decision.why)
        judged = replace(record, checks=_joined(record.checks, decision.checks))
        async with self._database.unit_of_work() as uow:
            if decision.action == "advance":
                await traffic.next_step(uow, judged, decision.why)
            elif decision.action == "promote":
                await traffic.promote(uow, judged, decision.why)
            elif decision.action == "pause":
                await traffic.pause(uow, judged, decision.why)
            else:
                await traffic.roll_back(uow, judged, decision.why, decision.checks)
        return True

    async def _guard(self, record: Record) -> bool:
        """A paused canary keeps its share, so it is still taken out when it fails."""
        if record.deployment.paused_from is not State.CANARY:
            return False
        decision = decide(record.policy, record.deployment.step, await self._evidence(record))
        if decision.action != "roll-back":
            return False
        judged = replace(record, checks=_joined(record.checks, decision.checks))
        async with self._database.unit_of_work() as uow:
            await traffic.roll_back(uow, judged, decision.why, decision.checks)
        return True

    async def _await_acknowledgement(self, record: Record) -> bool:
        deployment = record.deployment
        async with self._database.read() as connection:
            row = await Routes(connection).get(deployment.environment, deployment.model_id)
        answer = self._acknowledgement(record, row)
        if not (answer.complete or answer.problem):
            return await self.explain(record, answer.why)
        async with self._database.unit_of_work() as uow:
            if answer.problem is None:
                await traffic.acknowledged(uow, record)
            else:
                await traffic.roll_back(uow, record, answer.problem)
        return True

    async def _evidence(self, record: Record) -> Evidence:
        """One consistent look at what the canary's judge goes by."""
        deployment = record.deployment
        place = (deployment.environment, deployment.model_id)
        async with self._database.read() as connection:
            row = await Routes(connection).get(*place)
            revisions = await Routes(connection).revisions_of(deployment.id)
            champion = await Deployments(connection).champion(*place)
            counters = await Counters(connection).of(*place)
        other = champion.deployment.version if champion else 0
        return Evidence(
            steps=[tally(counters, r, deployment.version, other) for r in revisions],
            warm_up=added(v for key, v in counters.items() if key.version == other),
            acknowledgement=self._acknowledgement(record, row),
            deadline=deployment.deadline,
            now=clock.now(),
        )

    def _acknowledgement(self, record: Record, row: RouteRow | None) -> Acknowledgement:
        if row is None:
            raise NotFoundError(f"no route of {record.deployment.model}")
        wanted = Wanted(
            row.environment,
            row.model_id,
            row.route.revision,
            row.changed_at,
            record.deployment.version,
        )
        reports = [event.data for event in self._replicas.rows.values()]
        return acknowledgement(wanted, reports, clock.now())

    async def explain(self, record: Record, waits: str) -> bool:
        """Note what the deployment waits for; False, since it has not moved."""
        if waits != record.deployment.waits:
            async with self._database.unit_of_work() as uow:
                await Deployments(uow.connection).explain(record.deployment, waits)
        return False


def _joined(old: tuple[Check, ...], new: tuple[Check, ...]) -> tuple[Check, ...]:
    """The newer of two checks of one name."""
    names = {check.name for check in new}
    return (*(check for check in old if check.name not in names), *new)
