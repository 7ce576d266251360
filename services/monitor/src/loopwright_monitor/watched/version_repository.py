"""Every query about versions."""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import upsert
from loopwright_common.deploy_policy import MonitorPolicy
from loopwright_monitor.detectors.profile import Strictness
from loopwright_monitor.store.tables import versions


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedVersion:
    """A registered version; `profile_state` is `wanted`, `ready` or `collecting` first rows."""

    model_id: str
    model: str
    version: int
    pipeline: str | None = None
    training: str | None = None
    target: str | None = None
    inputs: list[str] | None = None
    policy: MonitorPolicy = field(default_factory=MonitorPolicy)
    classes: list[str] | None = None
    profile_state: str = "collecting"
    profile_why: str = ""
    profile: str | None = None

    @property
    def strictness(self) -> Strictness:
        policy = self.policy
        return Strictness(policy.smallest_change, policy.false_alarm_every.rows, policy.block_rows)

    def why_ready(self, source: str) -> str:
        """What it is compared with, after anything that went wrong before."""
        compared = f"reference: {source}"
        return f"{self.profile_why}; {compared}" if self.profile_why else compared


class WatchedVersions:
    """Registered versions, their policies and the state of their profiles."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, version: WatchedVersion) -> None:
        row = {
            "model_id": version.model_id,
            "version": version.version,
            "model": version.model,
            "pipeline": version.pipeline,
            "training": version.training,
            "target": version.target,
            "inputs": version.inputs,
            "policy": version.policy.model_dump(mode="json"),
            "profile_state": version.profile_state,
            "profile_why": version.profile_why,
        }
        await upsert(self._connection, versions, row)

    async def get(self, model_id: str, version: int) -> WatchedVersion | None:
        rows = await self._where(versions.c.model_id == model_id, versions.c.version == version)
        return rows[0] if rows else None

    async def wanting_profile(self) -> list[WatchedVersion]:
        return await self._where(versions.c.profile_state == "wanted")

    async def set_profile(
        self, version: WatchedVersion, state: str, why: str, digest: str | None = None
    ) -> None:
        await self._change(version, profile_state=state, profile_why=why, profile=digest)

    async def set_classes(self, version: WatchedVersion, classes: list[str] | None) -> None:
        await self._change(version, classes=classes)

    async def _change(self, version: WatchedVersion, **values: Any) -> None:
        await self._connection.execute(
            sa.update(versions)
            .where(versions.c.model_id == version.model_id, versions.c.version == version.version)
            .values(**values)
        )

    async def _where(self, *conditions: sa.ColumnElement[bool]) -> list[WatchedVersion]:
        query = (
            sa.select(versions).where(*conditions).order_by(versions.c.model_id, versions.c.version)
        )
        return [_version(row) for row in (await self._connection.execute(query)).mappings()]


def _version(row: Any) -> WatchedVersion:
    return WatchedVersion(
        model_id=row["model_id"],
        model=row["model"],
        version=row["version"],
        pipeline=row["pipeline"],
        training=row["training"],
        target=row["target"],
        inputs=row["inputs"],
        policy=MonitorPolicy.model_validate(row["policy"]),
        classes=row["classes"],
        profile_state=row["profile_state"],
        profile_why=row["profile_why"],
        profile=row["profile"],
    )
