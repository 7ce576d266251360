"""The looks at canaries that are kept, so that their verdicts can be made again."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import upsert
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
    """Queries over the looks at one deployment's canary; nothing deletes them."""

    def __init__(self, connection: AsyncConnection, deployment_id: str) -> None:
        self._connection = connection
        self._deployment_id = deployment_id

    async def has_place(self, look: CanaryLook) -> bool:
        """Whether `add` would keep it now."""
        return number_of(look, await self._last_two()) is not None

    async def add(self, look: CanaryLook) -> bool:
        """Whether it is kept: not where it says nothing new, or too soon after the one before."""
        number = number_of(look, await self._last_two())
        if number is None:
            return False
        row = {"deployment_id": self._deployment_id, "number": number, **_values(look)}
        return await upsert(self._connection, canary_looks, row, update=list(_values(look)))

    async def page(self, limit: int, skip: int) -> list[KeptLook]:
        """At most `limit` looks behind the first `skip`, oldest first."""
        query = sa.select(canary_looks).where(self._mine).order_by(canary_looks.c.number)
        rows = (await self._connection.execute(query.limit(limit).offset(skip))).all()
        return [_kept(row) for row in rows]

    async def _last_two(self) -> list[KeptLook]:
        query = sa.select(canary_looks).where(self._mine)
        newest = query.order_by(canary_looks.c.number.desc()).limit(2)
        rows = (await self._connection.execute(newest)).all()
        return [_kept(row) for row in reversed(rows)]

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return canary_looks.c.deployment_id == self._deployment_id


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
