"""The looks at canaries that are kept, so that their verdicts can be made again."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import in_values, upsert_all
from loopwright_common.events import Check
from loopwright_deployer.canary.decisions import CanaryDecision
from loopwright_deployer.canary.looks import (
    CanaryLook,
    KeptLook,
    number_of,
    read_evidence,
    write_evidence,
)
from loopwright_deployer.deployments.tables import canary_looks


class KeptLooks:
    """Queries over the looks at canaries, by the ids of their deployments; nothing deletes them."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, deployment_id: str, look: CanaryLook) -> bool:
        """Whether it is kept: not where it says nothing new, or too soon after the one before."""
        kept = await self.last_two([deployment_id])
        number = number_of(look, kept.get(deployment_id, ()))
        if number is not None:
            await self.put({deployment_id: KeptLook(number, look)})
        return number is not None

    async def put(self, looks: Mapping[str, KeptLook]) -> None:
        """Keep each under its number, instead of one that has it."""
        rows = [
            {"deployment_id": one, "number": kept.number, **_values(kept.look)}
            for one, kept in looks.items()
        ]
        await upsert_all(self._connection, canary_looks, rows, update=_VALUES)

    async def newest(self, deployment_ids: Sequence[str]) -> dict[str, tuple[int, datetime]]:
        """Which look is the newest of each that has any: its number, and when it was."""
        columns = (canary_looks.c.deployment_id, canary_looks.c.number, canary_looks.c.at)
        query = sa.select(*columns).join(*self._newest(deployment_ids, 0))
        rows = (await self._connection.execute(query)).all()
        return {row.deployment_id: (row.number, row.at) for row in rows}

    async def page(self, deployment_id: str, limit: int, skip: int) -> list[KeptLook]:
        """At most `limit` looks behind the first `skip`, oldest first."""
        mine = canary_looks.c.deployment_id == deployment_id
        query = sa.select(canary_looks).where(mine).order_by(canary_looks.c.number)
        rows = (await self._connection.execute(query.limit(limit).offset(skip))).all()
        return [_kept(row) for row in rows]

    async def last_two(self, deployment_ids: Sequence[str]) -> dict[str, list[KeptLook]]:
        """The newest two looks of each, or the one; nothing of those without any."""
        query = sa.select(canary_looks).join(*self._newest(deployment_ids, 1))
        found: dict[str, list[KeptLook]] = {}
        for row in (await self._connection.execute(query.order_by(canary_looks.c.number))).all():
            found.setdefault(row.deployment_id, []).append(_kept(row))
        return found

    def _newest(
        self, deployment_ids: Sequence[str], before: int
    ) -> tuple[sa.Subquery, sa.ColumnElement[bool]]:
        """What to join for the newest look of each and at most so many before it."""
        one, number = canary_looks.c.deployment_id, canary_looks.c.number
        these = in_values(self._connection, one, deployment_ids)
        query = sa.select(one, sa.func.max(number).label("number")).where(these).group_by(one)
        newest = query.subquery()
        is_one = sa.and_(one == newest.c.deployment_id, number >= newest.c.number - before)
        return newest, is_one


_VALUES = ("at", "step", "paused", "evidence", "action", "why", "checks")


def _values(look: CanaryLook) -> dict[str, Any]:
    return {
        "at": look.evidence.now,
        "step": look.step,
        "paused": look.paused,
        "evidence": write_evidence(look.evidence),
        "action": look.decision.action,
        "why": look.decision.why,
        "checks": [check.model_dump() for check in look.decision.checks],
    }


def _kept(row: Row[Any]) -> KeptLook:
    checks = tuple(Check.model_validate(check) for check in row.checks)
    decision = CanaryDecision(row.action, row.why, checks)
    return KeptLook(
        row.number, CanaryLook(row.step, row.paused, read_evidence(row.evidence), decision)
    )
