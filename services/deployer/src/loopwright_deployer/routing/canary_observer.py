"""Looks at canaries: what is decided of each, and what is kept of it while it stays as it is.

Looks that are asked for at once share their transactions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from loopwright_common.bus import TableReader
from loopwright_common.database import Database, UnitOfWork, leases
from loopwright_common.database.leases import Lease, LeaseLostError
from loopwright_common.events import Check, ReplicaReported
from loopwright_deployer.batcher import Batcher
from loopwright_deployer.canary.decisions import CanaryEvidence, decide_canary, only_waits
from loopwright_deployer.canary.kept_looks import KeptLooks
from loopwright_deployer.canary.looks import SHORTEST_GAP, CanaryLook, KeptLook, number_of
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import Deployment, DeploymentState, MovedError, Standing
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.routing.evidence import collect_evidence

_GAP_OF_EACH = timedelta(milliseconds=12)


@dataclass(frozen=True, slots=True)
class Observation:
    """A look at a canary as it was `seen`; its place behind the `newest` that is kept, if any."""

    seen: DeploymentRecord
    look: CanaryLook
    newest: tuple[int, datetime] | None
    place: int | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What to keep of a canary that stays as it is; by the holder of `lease`, if any."""

    observed: Observation
    waits: str | None
    lease: Lease | None

    @property
    def seen(self) -> Deployment:
        return self.observed.seen.deployment


class CanaryObserver:
    """`reports` are of the scorer's replicas, as they come in."""

    def __init__(self, database: Database, reports: TableReader[ReplicaReported]) -> None:
        self._database = database
        self._reports = reports
        self._looking = Batcher(self._collect_all)
        self._keeping = Batcher(self._keep_all)
        self.canaries = 0
        """How many there are to look at."""

    @property
    def reports(self) -> Sequence[ReplicaReported]:
        """What each replica has last reported."""
        return [event.data for event in self._reports.rows.values()]

    async def look(self, record: DeploymentRecord) -> Observation | timedelta:
        """What is to be decided of the canary now, or how much later to ask.

        That is where nothing is to be decided but to wait, and it is too soon to keep another look.
        MovedError where it is no longer where it was seen, NotFoundError without a route.
        """
        evidence, kept = await self._looking.ask(record)
        step, paused = record.deployment.step, record.deployment.state is DeploymentState.PAUSED
        newest = (kept[-1].number, kept[-1].look.evidence.now) if kept else None
        too_soon = self._gap - (evidence.now - newest[1]) if newest else timedelta()
        is_told = paused or record.deployment.waits is not None
        if too_soon > timedelta() and is_told and only_waits(record.policy, step, evidence):
            return too_soon
        decision = decide_canary(record.policy, step, evidence)
        look = CanaryLook(step, paused, evidence, decision)
        return Observation(record, look, newest, number_of(look, kept))

    @property
    def _gap(self) -> timedelta:
        """Between two looks that are kept: of many canaries, so few as the database can take."""
        return max(SHORTEST_GAP, self.canaries * _GAP_OF_EACH)

    async def keep(
        self, observed: Observation, waits: str | None, lease: Lease | None
    ) -> DeploymentRecord:
        """Keep what was seen of a canary that stays as it is, its checks and what it waits for.

        What it is by then. MovedError where it has moved meanwhile, LeaseLostError where another
        deployer has it.
        """
        return await self._keeping.ask(_Waiting(observed, waits, lease))

    async def drain(self) -> None:
        """Until nothing is read or written any more."""
        await self._looking.drain()
        await self._keeping.drain()

    async def _collect_all(
        self, records: Sequence[DeploymentRecord]
    ) -> list[tuple[CanaryEvidence, Sequence[KeptLook]] | Exception]:
        ids = [record.deployment.id for record in records]
        async with self._database.read() as connection:
            # Before all else: by where it stands is known what is read next.
            now = await Deployments(connection).standings(ids)
            found = await collect_evidence(connection, records, self.reports)
            kept = await KeptLooks(connection).last_two(ids)
        return [
            _moved(record.deployment, now.get(record.deployment.id))
            or (each if isinstance(each, Exception) else (each, kept.get(record.deployment.id, ())))
            for record, each in zip(records, found, strict=True)
        ]

    async def _keep_all(self, waiting: Sequence[_Waiting]) -> list[DeploymentRecord | Exception]:
        async with self._database.unit_of_work() as uow:
            await service.lock_models(uow, (one.seen.model_key for one in waiting))
            faults = await _faults(uow, waiting)
            good = [one for one, fault in zip(waiting, faults, strict=True) if fault is None]
            newest = await KeptLooks(uow.connection).newest([one.seen.id for one in good])
            # Where another deployer has kept one meanwhile, the next look has its place behind it.
            places = {
                one.seen.id: KeptLook(one.observed.place, one.observed.look)
                for one in good
                if one.observed.place is not None and newest.get(one.seen.id) == one.observed.newest
            }
            noted = {one.seen.id: _noted(one, is_kept=one.seen.id in places) for one in good}
            await KeptLooks(uow.connection).put(places)
            await Deployments(uow.connection).note_looks(list(noted.values()))
        return [fault or noted[one.seen.id] for one, fault in zip(waiting, faults, strict=True)]


async def keep_move(
    uow: UnitOfWork, record: DeploymentRecord, look: CanaryLook
) -> DeploymentRecord:
    """The record with the checks of a look by which it moves; the look is kept beside it."""
    await KeptLooks(uow.connection).add(record.deployment.id, look)
    return replace(record, checks=_merged(record.checks, look.decision.checks))


async def _faults(uow: UnitOfWork, waiting: Sequence[_Waiting]) -> list[Exception | None]:
    """What is in the way of each; nothing comes into it before this commits."""
    held = [one.lease for one in waiting if one.lease is not None]
    confirmed = await leases.confirmed(uow, held) if held else frozenset()
    now = await Deployments(uow.connection).standings([one.seen.id for one in waiting])
    return [_fault(one, now.get(one.seen.id), confirmed) for one in waiting]


def _fault(one: _Waiting, now: Standing | None, confirmed: frozenset[Lease]) -> Exception | None:
    if one.lease is not None and one.lease not in confirmed:
        return LeaseLostError(f"{one.lease.name} is in other hands now")
    return _moved(one.seen, now)


def _moved(seen: Deployment, now: Standing | None) -> MovedError | None:
    return None if now == seen.standing else MovedError(seen)


def _noted(one: _Waiting, *, is_kept: bool) -> DeploymentRecord:
    """What the deployment is by then; its checks are the look's where that is kept."""
    record = one.observed.seen
    checks = _merged(record.checks, one.observed.look.decision.checks) if is_kept else record.checks
    return replace(record, deployment=replace(record.deployment, waits=one.waits), checks=checks)


def _merged(old: tuple[Check, ...], new: tuple[Check, ...]) -> tuple[Check, ...]:
    """The newer of two checks of one name."""
    names = {check.name for check in new}
    return (*(check for check in old if check.name not in names), *new)
