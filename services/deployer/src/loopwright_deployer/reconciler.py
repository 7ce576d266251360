"""Works on one deployment at a time: step after step while this replica has its lease."""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import structlog

from loopwright_common import clock
from loopwright_common.bus import TableReader
from loopwright_common.database import Database, leases
from loopwright_common.database.leases import Lease, LeaseLostError
from loopwright_common.errors import ConflictError, NotFoundError, UnavailableError, described
from loopwright_common.events import ReplicaReported
from loopwright_common.observability import tracing
from loopwright_deployer.deployments.domain import AUTOMATIC, AWAITS_PERSON, DeploymentState
from loopwright_deployer.deployments.ownership import lease_name
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.staging.runner import StagingRunner
from loopwright_deployer.steps import DeploymentSteps

log = structlog.get_logger()
_RETRY_SECONDS = 1.0


_LONG = frozenset({DeploymentState.PACKAGING, DeploymentState.STAGING})


class Reconciler:
    """All it needs to know is in the database, so any replica goes on where another one ended."""

    def __init__(
        self,
        database: Database,
        staging: StagingRunner,
        replicas: TableReader[ReplicaReported],
        length: timedelta,
    ) -> None:
        """`length` is how long after a replica's death another goes on with its deployments."""
        self._database = database
        self._staging = staging
        self._replicas = replicas
        self._length = length

    async def check_once(self, deployment_id: str) -> bool:
        """Do what is due of a deployment that awaits a person; whether it moved.

        NotFoundError where it is gone, LeaseLostError where another deployer has it.
        """
        record = await self._now(deployment_id)
        if record.deployment.state not in AWAITS_PERSON:
            return False
        return await self._try(self._steps(None), record)

    async def reconcile(self, deployment_id: str, again: asyncio.Event) -> bool:
        """Work on the deployment until it ends, awaits a person or rests; False if another does.

        NotFoundError where it is gone, UnavailableError while the database is away.
        """
        async with self._database.unit_of_work() as uow:
            lease = await leases.acquire(uow, lease_name(deployment_id), self._length)
        if lease is None:
            return False
        async with leases.keep_renewed(self._database, lease, self._length):
            await self._step_on(deployment_id, self._steps(lease), again)
        return True

    async def _step_on(
        self, deployment_id: str, steps: DeploymentSteps, again: asyncio.Event
    ) -> None:
        while True:
            again.clear()
            record = await self._now(deployment_id)
            deployment = record.deployment
            if deployment.state not in AUTOMATIC or deployment.is_postponed(clock.now()):
                return
            if not await self._try(steps, record):
                await again.wait()

    async def _now(self, deployment_id: str) -> DeploymentRecord:
        while True:
            try:
                async with self._database.read() as connection:
                    return await Deployments(connection).get(deployment_id)
            except UnavailableError as error:
                log.warning("deployer.paused", deployment=deployment_id, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _try(self, steps: DeploymentSteps, record: DeploymentRecord) -> bool:
        """One step; whether the deployment moved. A passing fault is tried again a little later."""
        deployment = record.deployment
        try:
            with _traced(record):
                return await steps.by_state[deployment.state](record)
        except LeaseLostError:
            raise
        except ConflictError as error:
            log.info("deployer.conflict", deployment=deployment.id, why=str(error))
        except (UnavailableError, NotFoundError, TimeoutError) as error:
            log.warning("deployer.step-retried", deployment=deployment.id, error=repr(error))
            await self._rest(steps, record, str(error) or "a call took too long")
        except Exception as error:
            # One deployment that cannot go on must not stop the others.
            log.exception("deployer.failed", deployment=deployment.id)
            await self._rest(steps, record, f"unexpected {described(error)}")
        return False

    async def _rest(self, steps: DeploymentSteps, record: DeploymentRecord, fault: str) -> None:
        """Say what is in the way, and rest a moment."""
        try:
            await steps.explain_wait(record, f"tries again: {fault}")
        except LeaseLostError:
            raise
        except (UnavailableError, ConflictError) as error:
            log.warning("deployer.paused", deployment=record.deployment.id, error=str(error))
        await asyncio.sleep(_RETRY_SECONDS)

    def _steps(self, lease: Lease | None) -> DeploymentSteps:
        return DeploymentSteps(self._database, self._staging, self._replicas, lease)


def _traced(record: DeploymentRecord) -> AbstractContextManager[object]:
    """The steps that work; those that wait are looked at every second."""
    state = record.deployment.state
    if state not in _LONG:
        return nullcontext()
    return tracing.span("deployer", f"{state} {record.deployment.id}", record.cause.traceparent)
