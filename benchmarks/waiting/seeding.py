"""Puts deployments in flight by the deployer's own use cases, before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from loopwright_common import clock
from loopwright_common.database import Cause, Database, UnitOfWork
from loopwright_common.events import Check, ModelRegistered
from loopwright_common.sandbox import Level
from loopwright_deployer.deployments import service
from loopwright_deployer.deployments.domain import DeploymentState, ServedPackage
from loopwright_deployer.deployments.repository import DeploymentRecord, Deployments
from loopwright_deployer.deployments.retry_schedule import Outage
from loopwright_deployer.deployments.tables import deployments
from loopwright_deployer.routing import transitions, withdrawals

ENVIRONMENT = "production"
_CAUSE = Cause("bench", ("bench",), "")
_PATIENT: dict[str, Any] = {
    "canary": {"max_time": "6h", "steps": [{"weight": 0.1, "min_requests": 1_000_000}]}
}
_ASKING = {**_PATIENT, "approval": {"roles": ["approver"], "within": "6h"}}
_PASSED = Check(name="schema", verdict="passed", sentence="it answers the sample rows")


class Wait(StrEnum):
    """What a deployment in flight waits for."""

    TRAFFIC = "traffic"
    """A canary, for evidence; of every fifth model it is paused and keeps its share."""
    APPROVAL = "approval"
    TURN = "turn"
    """Validated, behind the canary of its model."""
    PERSON = "person"
    """Paused."""
    INDEX = "index"
    """To be packaged, when the package index is back."""


_FIRST = (Wait.APPROVAL, Wait.PERSON, Wait.INDEX)
"""What has to come to its gate before there is a canary in the way."""


@dataclass(slots=True)
class Seeded:
    """The deployments in flight by what they wait for, in the order of their models."""

    waiting: dict[Wait, list[str]] = field(default_factory=lambda: {wait: [] for wait in Wait})


def model_name(number: int) -> str:
    return f"model-{number:03}"


async def seed(database: Database, models: int, in_flight: int) -> Seeded:
    """Each model has a champion, a canary, and what else there is in turns."""
    seeded = Seeded()
    for number in range(models):
        share = len(range(number, in_flight, models))
        waits = [list(Wait)[place % len(Wait)] for place in range(share)]
        async with database.unit_of_work() as uow:
            await _seed_model(uow, number, waits, seeded)
    return seeded


async def set_deadlines(
    database: Database, ids: Sequence[str], first: datetime
) -> dict[str, datetime]:
    """The approvals end one after another, half a second apart."""
    ends = {one: first + timedelta(seconds=place / 2) for place, one in enumerate(ids)}
    async with database.unit_of_work() as uow:
        for one, end in ends.items():
            change = sa.update(deployments).where(deployments.c.id == one).values(deadline=end)
            await uow.connection.execute(change)
    return ends


async def _seed_model(uow: UnitOfWork, number: int, waits: Sequence[Wait], seeded: Seeded) -> None:
    champion = await _validated(uow, number, 1, _PATIENT)
    await transitions.enter_next_gate(uow, champion)
    await transitions.complete_promotion(uow, await _now(uow, champion))
    order = sorted(enumerate(waits, start=2), key=lambda each: each[1] not in _FIRST)
    for version, wait in order:
        record = await _wait(uow, number, version, wait)
        seeded.waiting[wait].append(record.deployment.id)


async def _wait(uow: UnitOfWork, number: int, version: int, wait: Wait) -> DeploymentRecord:
    if wait is Wait.INDEX:
        record = await _packaging(uow, number, version, _PATIENT)
        now = clock.now()
        later = Outage(now, now + timedelta(hours=6), now + timedelta(hours=12))
        await Deployments(uow.connection).postpone(record.deployment, later, "tries again")
        return record
    record = await _validated(uow, number, version, _ASKING if wait is Wait.APPROVAL else _PATIENT)
    if wait is Wait.PERSON:
        return await withdrawals.pause(uow, record, "paused by the benchmark")
    await transitions.enter_next_gate(uow, record)
    if wait is Wait.TRAFFIC and number % 5 == 4:
        return await withdrawals.pause(uow, await _now(uow, record), "paused by the benchmark")
    return record


async def _packaging(
    uow: UnitOfWork, number: int, version: int, policy: dict[str, Any]
) -> DeploymentRecord:
    name = model_name(number)
    registered = ModelRegistered(
        model_id=name,
        model=name,
        version=version,
        digest="sha256:" + "0" * 64,
        location="nowhere",
        format="onnx",
        deploy=policy,
    )
    record = service.new_record(registered, ENVIRONMENT, _CAUSE, attempt=1)
    await service.start_attempt(uow, record, "benchmark")
    return await service.advance(uow, record, DeploymentState.PACKAGING, "packaging")


async def _validated(
    uow: UnitOfWork, number: int, version: int, policy: dict[str, Any]
) -> DeploymentRecord:
    record = await _packaging(uow, number, version, policy)
    served = ServedPackage(version, "sha256:" + "1" * 64, "onnx")
    staged = await service.finish_packaging(uow, record, served, "packaged", Level.NAMESPACE)
    against = 1 if version > 1 else None
    await service.finish_staging(uow, staged, (_PASSED,), "report", Level.NAMESPACE, against)
    return await _now(uow, staged)


async def _now(uow: UnitOfWork, record: DeploymentRecord) -> DeploymentRecord:
    return await Deployments(uow.connection).get(record.deployment.id)
