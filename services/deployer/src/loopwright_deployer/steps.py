"""What to do with a deployment in each state that asks for work; each step may be done again.

Packages are content-addressed, and a change of state is refused when the deployment is no longer
where the step began or in other hands, so a step that a crash cut off is simply begun anew.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog

from loopwright_common import clock
from loopwright_common.bus import TableReader
from loopwright_common.database import Database, UnitOfWork, leases
from loopwright_common.database.leases import Lease
from loopwright_common.errors import CorruptError, InvalidError
from loopwright_common.events import Check, ReplicaReported
from loopwright_common.failpoints import failpoint
from loopwright_deployer.canary.decisions import decide_canary
from loopwright_deployer.canary.kept_looks import KeptLooks
from loopwright_deployer.canary.looks import CanaryLook
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.routing import route_revisions, transitions, withdrawals
from loopwright_deployer.routing.evidence import acknowledgement_of, collect_evidence
from loopwright_deployer.staging.confined_process import TransientError
from loopwright_deployer.staging.redaction import require_redacted_inputs
from loopwright_deployer.staging.runner import StagingRunner

log = structlog.get_logger()
StepFunction = Callable[[DeploymentRecord], Awaitable[bool]]


class DeploymentSteps:
    """`by_state` gives the step of a state; it returns whether the deployment moved on."""

    def __init__(
        self,
        database: Database,
        staging: StagingRunner,
        replicas: TableReader[ReplicaReported],
        lease: Lease | None,
    ) -> None:
        """Without the deployment's `lease` only for steps that are a single transaction."""
        self._database = database
        self._staging = staging
        self._replicas = replicas
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

    async def _start(self, record: DeploymentRecord) -> bool:
        if record.policy_fault:
            return await self._reject(record, f"its policy cannot be read: {record.policy_fault}")
        async with self._writing(record) as (uow, current):
            await service.advance(
                uow, current, DeploymentState.PACKAGING, "building the serving package"
            )
        return True

    async def _package(self, record: DeploymentRecord) -> bool:
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
        return True

    async def _stage(self, record: DeploymentRecord) -> bool:
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
        return True

    async def _champion(self, record: DeploymentRecord) -> DeploymentRecord | None:
        async with self._database.read() as connection:
            return await Deployments(connection).champion(*record.deployment.model_key)

    async def _reject(self, record: DeploymentRecord, why: str) -> bool:
        async with self._writing(record) as (uow, current):
            await service.reject(uow, current, why)
        return True

    async def _postpone(self, record: DeploymentRecord, fault: str) -> bool:
        log.warning("deployer.postponed", deployment=record.deployment.id, error=fault)
        async with self._writing(record) as (uow, current):
            await service.postpone(uow, current, fault, self._staging.outage_limit)
        return True

    async def _enter(self, record: DeploymentRecord) -> bool:
        async with self._writing(record) as (uow, current):
            return await transitions.enter_next_gate(uow, current)

    async def _await_approval(self, record: DeploymentRecord) -> bool:
        deadline = record.deployment.deadline
        if deadline is None or clock.now() < deadline:
            return False
        async with self._writing(record) as (uow, current):
            await transitions.expire_approval(uow, current)
        return True

    async def _judge(self, record: DeploymentRecord) -> bool:
        look = await self._look(record)
        decision = look.decision
        if decision.action == "wait":
            await self._keep(record, look, decision.why)
            return False
        async with self._writing(record) as (uow, current):
            judged = await _keep_look(uow, current, look)
            if decision.action == "begin-anew":
                await transitions.begin_step(uow, judged)
            elif decision.action == "advance":
                await transitions.advance_canary(uow, judged, decision.why)
            elif decision.action == "promote":
                await transitions.pass_canary(uow, judged, decision.why)
            elif decision.action == "pause":
                await withdrawals.pause_inconclusive(uow, judged, decision.why)
            else:
                await withdrawals.roll_back(uow, judged, decision.why, decision.checks)
        return True

    async def _guard(self, record: DeploymentRecord) -> bool:
        """A paused canary keeps its share, so it is still taken out when it fails."""
        if record.deployment.paused_from is not DeploymentState.CANARY:
            return False
        look = await self._look(record)
        decision = look.decision
        if decision.action != "roll-back":
            await self._keep(record, look, record.deployment.waits)
            return False
        async with self._writing(record) as (uow, current):
            judged = await _keep_look(uow, current, look)
            await withdrawals.roll_back(uow, judged, decision.why, decision.checks)
        return True

    async def _await_acknowledgement(self, record: DeploymentRecord) -> bool:
        async with self._database.read() as connection:
            answer = await acknowledgement_of(connection, record, self._replicas)
        fault = answer.problem or answer.tripped
        if not (answer.complete or fault):
            return await self.explain_wait(record, answer.why)
        async with self._writing(record) as (uow, current):
            if fault is None:
                await transitions.complete_promotion(uow, current)
            else:
                await withdrawals.roll_back(uow, current, fault)
        return True

    async def _look(self, record: DeploymentRecord) -> CanaryLook:
        async with self._database.read() as connection:
            evidence = await collect_evidence(connection, record, self._replicas)
        step, paused = record.deployment.step, record.deployment.state is DeploymentState.PAUSED
        return CanaryLook(step, paused, evidence, decide_canary(record.policy, step, evidence))

    async def _keep(self, record: DeploymentRecord, look: CanaryLook, waits: str | None) -> None:
        """Keep what was seen where the canary stays as it is, its checks and what it waits for.

        Nothing is written where there is nothing new.
        """
        async with self._database.read() as connection:
            is_kept = await KeptLooks(connection, record.deployment.id).has_place(look)
        is_told = waits == record.deployment.waits
        if is_told and not is_kept:
            return
        async with self._writing(record) as (uow, current):
            deployments = Deployments(uow.connection)
            if is_kept:
                judged = await _keep_look(uow, current, look)
                await deployments.set_checks(current.deployment, judged.checks)
            if not is_told:
                await deployments.set_waiting_reason(current.deployment, waits)

    async def explain_wait(self, record: DeploymentRecord, waits: str) -> bool:
        """Note what the deployment waits for; False, since it has not moved.

        LeaseLostError where another deployer has it, ConflictError where it moved meanwhile.
        """
        if waits != record.deployment.waits:
            async with self._writing(record) as (uow, current):
                await Deployments(uow.connection).set_waiting_reason(current.deployment, waits)
        return False

    @asynccontextmanager
    async def _writing(
        self, seen: DeploymentRecord
    ) -> AsyncGenerator[tuple[UnitOfWork, DeploymentRecord], None]:
        """A transaction with the deployment as it is now; ConflictError unless it has not moved.

        LeaseLostError when another deployer works on it by now.
        """
        async with self._database.unit_of_work() as uow:
            current = await service.lock_unchanged(uow, seen)
            if self._lease is not None:
                await leases.confirm(uow, self._lease)
            yield uow, current


async def _keep_look(
    uow: UnitOfWork, record: DeploymentRecord, look: CanaryLook
) -> DeploymentRecord:
    """The record with the look's checks; the look is kept beside it."""
    await KeptLooks(uow.connection, record.deployment.id).add(look)
    return replace(record, checks=_merge_checks(record.checks, look.decision.checks))


def _merge_checks(old: tuple[Check, ...], new: tuple[Check, ...]) -> tuple[Check, ...]:
    """The newer of two checks of one name."""
    names = {check.name for check in new}
    return (*(check for check in old if check.name not in names), *new)
