"""Works on one deployment at a time: step after step while this replica has its lease."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta

import structlog

from loopwright_common import clock
from loopwright_common.database import Database, leases
from loopwright_common.database.leases import Lease, LeaseKeeper, LeaseLostError
from loopwright_common.errors import ConflictError, NotFoundError, UnavailableError, described
from loopwright_common.observability import tracing
from loopwright_deployer.batcher import Batcher
from loopwright_deployer.deployments.domain import (
    AUTOMATIC,
    AWAITS_PERSON,
    DeploymentState,
    ModelKey,
    MovedError,
)
from loopwright_deployer.deployments.ownership import lease_name
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.routing.canary_observer import CanaryObserver
from loopwright_deployer.staging.runner import StagingRunner
from loopwright_deployer.steps import MOVED, WAITS, DeploymentSteps, Outcome

log = structlog.get_logger()
_RETRY_SECONDS = 1.0
_REST_SECONDS = 0.2
"""Between two looks at a deployment that waits, however much is reported of it."""
_LONG = frozenset({DeploymentState.PACKAGING, DeploymentState.STAGING})


class Reconciler:
    """All it needs to know is in the database, so any replica goes on where another one ended."""

    def __init__(
        self,
        database: Database,
        staging: StagingRunner,
        observer: CanaryObserver,
        length: timedelta,
        moved: Callable[[ModelKey], None],
    ) -> None:
        """`length` is how long after a replica's death another goes on with its deployments.

        `moved` is told the model of each deployment that has moved.
        """
        self._database = database
        self._staging = staging
        self._observer = observer
        self._length = length
        self._moved = moved
        self._leases = LeaseKeeper(database, length)
        self._records = Batcher(self._get_all)

    async def check_once(self, deployment_id: str) -> Outcome:
        """Do what is due of a deployment that awaits a person.

        NotFoundError where it is gone, LeaseLostError where another deployer has it.
        """
        record = await self._now(deployment_id)
        if record.deployment.state not in AWAITS_PERSON:
            return WAITS
        return await self._try(self._steps(None), record)

    async def reconcile(self, deployment_id: str, again: asyncio.Event) -> None:
        """Work on the deployment until it ends, rests, or awaits a person or its turn.

        Where it waits, it is looked at when `again` says so. Nothing where another has it.
        NotFoundError where it is gone, UnavailableError while the database is away.
        """
        async with self._database.unit_of_work() as uow:
            lease = await leases.acquire(uow, lease_name(deployment_id), self._length)
        if lease is not None:
            async with self._leases.keep(lease):
                await self._step_on(deployment_id, self._steps(lease), again)

    async def drain(self) -> None:
        """Until nothing is read or written any more for those that were interrupted."""
        await self._records.drain()
        await self._observer.drain()

    async def _step_on(
        self, deployment_id: str, steps: DeploymentSteps, again: asyncio.Event
    ) -> None:
        record: DeploymentRecord | None = None
        while True:
            again.clear()
            record = record or await self._now(deployment_id)
            deployment = record.deployment
            if deployment.state not in AUTOMATIC or deployment.is_postponed(clock.now()):
                return
            outcome = await self._try(steps, record)
            record = outcome.record
            if outcome.moved:
                continue
            if outcome is WAITS and deployment.state is DeploymentState.VALIDATED:
                return
            await asyncio.sleep(_REST_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(outcome.after_seconds):
                    await again.wait()

    async def _now(self, deployment_id: str) -> DeploymentRecord:
        while True:
            try:
                return await self._records.ask(deployment_id)
            except UnavailableError as error:
                log.warning("deployer.paused", deployment=deployment_id, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _get_all(self, ids: Sequence[str]) -> list[DeploymentRecord | Exception]:
        async with self._database.read() as connection:
            found = await Deployments(connection).with_ids(ids)
        return [found.get(each) or NotFoundError(f"no deployment {each}") for each in ids]

    async def _try(self, steps: DeploymentSteps, record: DeploymentRecord) -> Outcome:
        """One step. What fails is tried again a little later, though nothing may have changed."""
        deployment = record.deployment
        try:
            with _traced(record):
                outcome = await steps.by_state[deployment.state](record)
        except LeaseLostError:
            raise
        except MovedError as error:
            log.info("deployer.conflict", deployment=deployment.id, why=str(error))
            return MOVED
        except ConflictError as error:
            log.info("deployer.conflict", deployment=deployment.id, why=str(error))
        except (UnavailableError, NotFoundError, TimeoutError) as error:
            log.warning("deployer.step-retried", deployment=deployment.id, error=repr(error))
            await self._explain(steps, record, str(error) or "a call took too long")
        except Exception as error:
            # One deployment that cannot go on must not stop the others.
            log.exception("deployer.failed", deployment=deployment.id)
            await self._explain(steps, record, f"unexpected {described(error)}")
        else:
            if outcome.moved:
                self._moved(deployment.model_key)
            return outcome
        return Outcome(False, _RETRY_SECONDS)

    async def _explain(self, steps: DeploymentSteps, record: DeploymentRecord, fault: str) -> None:
        """Say what is in the way."""
        try:
            await steps.explain_wait(record, f"tries again: {fault}")
        except LeaseLostError:
            raise
        except (UnavailableError, ConflictError) as error:
            log.warning("deployer.paused", deployment=record.deployment.id, error=str(error))

    def _steps(self, lease: Lease | None) -> DeploymentSteps:
        return DeploymentSteps(self._database, self._staging, self._observer, lease)


def _traced(record: DeploymentRecord) -> AbstractContextManager[object]:
    """The steps that work; those that wait are looked at again and again."""
    state = record.deployment.state
    if state not in _LONG:
        return nullcontext()
    return tracing.span("deployer", f"{state} {record.deployment.id}", record.cause.traceparent)
