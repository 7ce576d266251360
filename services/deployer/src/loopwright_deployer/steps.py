"""What to do with a deployment in each state that asks for work; each step may be done again.

Packages are content-addressed, and a change of state is refused when the deployment is no longer
where the step began or in other hands, so a step that a crash cut off is simply begun anew.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from loopwright_common import clock
from loopwright_common.database import Database, UnitOfWork, leases
from loopwright_common.database.leases import Lease
from loopwright_common.errors import CorruptError, InvalidError
from loopwright_common.failpoints import failpoint
from loopwright_deployer.canary.decisions import CanaryDecision
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.deployments.windows import held_until
from loopwright_deployer.routing import route_revisions, transitions, withdrawals
from loopwright_deployer.routing.canary_observer import CanaryObserver, Observation, keep_move
from loopwright_deployer.routing.evidence import acknowledgement_of
from loopwright_deployer.staging.confined_process import TransientError
from loopwright_deployer.staging.redaction import require_redacted_inputs
from loopwright_deployer.staging.runner import StagingRunner

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the deployment moved; if not, it is looked at again once anything has changed.

    And after so many seconds, where they are given. `record` is the deployment as it is by then,
    where that is known.
    """

    moved: bool
    after_seconds: float | None = None
    record: DeploymentRecord | None = None


MOVED, WAITS = Outcome(True), Outcome(False)
StepFunction = Callable[[DeploymentRecord], Awaitable[Outcome]]


class DeploymentSteps:
    """`by_state` gives the step of a state."""

    def __init__(
        self,
        database: Database,
        staging: StagingRunner,
        observer: CanaryObserver,
        lease: Lease | None,
    ) -> None:
        """Without the deployment's `lease` only for steps that are a single transaction."""
        self._database = database
        self._staging = staging
        self._observer = observer
        self._lease = lease
        self.by_state: Mapping[DeploymentState, StepFunction] = {
            DeploymentState.RECEIVED: self._start,
            DeploymentState.PACKAGING: self._package,
            DeploymentState.STAGING: self._stage,
            DeploymentState.VALIDATED: self._enter,
            DeploymentState.APPROVAL: self._await_approval,
            DeploymentState.CANARY: self._judge,
            DeploymentState.PAUSED: self._guard,
            DeploymentState.PROMOTING: self._await_acknowledgement,
        }

    async def _start(self, record: DeploymentRecord) -> Outcome:
        async with self._writing(record) as (uow, current):
            if fault := current.policy_fault:
                await service.reject_unreadable(uow, current, fault)
            else:
                await service.advance(
                    uow, current, DeploymentState.PACKAGING, "building the serving package"
                )
        return MOVED

    async def _package(self, record: DeploymentRecord) -> Outcome:
        champion = await self._champion(record)
        await self._staging.expect_staging(scorers=2 if champion else 1)
        try:
            require_redacted_inputs(record)
            done = await self._staging.package(record)
        except TransientError as error:
            return await self._postpone(record, str(error))
        except (InvalidError, CorruptError) as error:
            return await self._reject(record, str(error))
        failpoint("deployer.packaged")
        async with self._writing(record) as (uow, current):
            await service.finish_packaging(uow, current, done.served, done.why, self._staging.level)
        return MOVED

    async def _stage(self, record: DeploymentRecord) -> Outcome:
        champion = await self._champion(record)
        try:
            result = await self._staging.stage(record, champion)
        except TransientError as error:
            return await self._postpone(record, str(error))
        except (InvalidError, CorruptError) as error:
            return await self._reject(record, f"the staging scorer does not serve it: {error}")
        report = await self._staging.report(record, result)
        failpoint("deployer.staged")
        async with self._writing(record) as (uow, current):
            against = champion.deployment.version if champion else None
            await service.finish_staging(
                uow, current, result.checks, report, self._staging.level, against
            )
            await route_revisions.publish_aliases(uow, *current.deployment.model_key)
        return MOVED

    async def _champion(self, record: DeploymentRecord) -> DeploymentRecord | None:
        async with self._database.read() as connection:
            return await Deployments(connection).champion(*record.deployment.model_key)

    async def _reject(self, record: DeploymentRecord, why: str) -> Outcome:
        async with self._writing(record) as (uow, current):
            await service.reject(uow, current, why)
        return MOVED

    async def _postpone(self, record: DeploymentRecord, fault: str) -> Outcome:
        log.warning("deployer.postponed", deployment=record.deployment.id, error=fault)
        async with self._writing(record) as (uow, current):
            await service.postpone(uow, current, fault, self._staging.outage_limit)
        return MOVED

    async def _enter(self, record: DeploymentRecord) -> Outcome:
        async with self._writing(record) as (uow, current):
            return MOVED if await transitions.enter_next_gate(uow, current) else WAITS

    async def _await_approval(self, record: DeploymentRecord) -> Outcome:
        deadline = record.deployment.deadline
        if deadline is None or clock.now() < deadline:
            return WAITS
        async with self._writing(record) as (uow, current):
            await transitions.expire_approval(uow, current)
        return MOVED

    async def _judge(self, record: DeploymentRecord) -> Outcome:
        seen = await self._observer.look(record)
        if isinstance(seen, timedelta):
            return Outcome(False, seen.total_seconds(), record)
        decision = seen.look.decision
        if decision.action == "wait":
            return await self._keep(seen, decision.why)
        async with self._writing(record) as (uow, current):
            judged = await keep_move(uow, current, seen.look)
            if decision.action == "begin-anew":
                await transitions.begin_step(uow, judged)
            elif decision.action == "advance":
                await transitions.advance_canary(uow, judged, decision.why)
            elif decision.action == "promote":
                await transitions.pass_canary(uow, judged, decision.why)
            elif decision.action == "pause":
                await withdrawals.pause_inconclusive(uow, judged, decision.why)
            else:
                await _take_out(uow, judged, decision)
        return MOVED

    async def _guard(self, record: DeploymentRecord) -> Outcome:
        """A paused canary keeps its share, so it is still taken out when it fails."""
        if record.deployment.paused_from is not DeploymentState.CANARY:
            return WAITS
        seen = await self._observer.look(record)
        if isinstance(seen, timedelta):
            return Outcome(False, seen.total_seconds(), record)
        decision = seen.look.decision
        if not seen.look.moves:
            return await self._keep(seen, record.deployment.waits)
        async with self._writing(record) as (uow, current):
            await _take_out(uow, await keep_move(uow, current, seen.look), decision)
        return MOVED

    async def _await_acknowledgement(self, record: DeploymentRecord) -> Outcome:
        async with self._database.read() as connection:
            answer = await acknowledgement_of(connection, record.deployment, self._observer.reports)
        fault = answer.problem or answer.tripped
        if not (answer.complete or fault):
            return await self.explain_wait(record, answer.why)
        async with self._writing(record) as (uow, current):
            if fault is None:
                await transitions.complete_promotion(uow, current)
            else:
                await withdrawals.roll_back(uow, current, fault)
        return MOVED

    async def _keep(self, seen: Observation, waits: str | None) -> Outcome:
        """Nothing is written where there is nothing new to keep or to tell."""
        record, now = seen.seen, seen.look.evidence.now
        if seen.place is not None or waits != record.deployment.waits:
            record = await self._observer.keep(seen, waits, self._lease)
        opens = held_until(record.deployment, record.policy, now)
        return Outcome(False, (opens - now).total_seconds() if opens else None, record)

    async def explain_wait(self, record: DeploymentRecord, waits: str) -> Outcome:
        """Note what the deployment waits for.

        LeaseLostError where another deployer has it, MovedError where it moved meanwhile.
        """
        if waits != record.deployment.waits:
            async with self._writing(record) as (uow, current):
                await Deployments(uow.connection).set_waiting_reason(current.deployment, waits)
        return WAITS

    @asynccontextmanager
    async def _writing(
        self, seen: DeploymentRecord
    ) -> AsyncGenerator[tuple[UnitOfWork, DeploymentRecord], None]:
        """A transaction with the deployment as it is now; MovedError unless it has not moved.

        LeaseLostError when another deployer works on it by now.
        """
        async with self._database.unit_of_work() as uow:
            current = await service.lock_unchanged(uow, seen)
            if self._lease is not None:
                await leases.confirm(uow, self._lease)
            yield uow, current


async def _take_out(uow: UnitOfWork, judged: DeploymentRecord, decision: CanaryDecision) -> None:
    if decision.action == "freeze":
        await withdrawals.freeze(uow, judged, decision.why)
    else:
        await withdrawals.roll_back(uow, judged, decision.why, decision.checks)
