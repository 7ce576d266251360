"""Which deployer works on a deployment: one at a time, by a lease of the deployment's name."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.database import leases
from loopwright_common.database.leases import LeaseHolder
from loopwright_deployer.deployments.domain import AUTOMATIC
from loopwright_deployer.deployments.repository import DeploymentRecord


def lease_name(deployment_id: str) -> str:
    """The lease that whoever works on the deployment holds."""
    return f"deployment/{deployment_id}"


async def owned(connection: AsyncConnection, deployment_ids: Sequence[str]) -> set[str]:
    """Those that a deployer, this one or another, works on now."""
    holdings = await _holdings(connection, deployment_ids)
    return {one for one, holding in holdings.items() if holding.remaining > timedelta()}


async def describe_owners(
    connection: AsyncConnection, records: Sequence[DeploymentRecord], length: timedelta
) -> dict[str, str]:
    """Who works on each deployment, by its id; on SQLite there is but one deployer to name."""
    if connection.dialect.name == "sqlite":
        return {}
    moving = [r.deployment.id for r in records if r.deployment.state in AUTOMATIC]
    holdings = await _holdings(connection, moving)
    return {one: describe_owner(holding, length) for one, holding in holdings.items()}


def describe_owner(holding: LeaseHolder, length: timedelta) -> str:
    """A lease of `length` is renewed four times in it; two missed renewals are silence."""
    if holding.remaining > length / 2:
        return f"the deployer {holding.holder} works on it"
    since = clock.to_text(holding.until - length)
    silent = f"the deployer {holding.holder} that worked on it has not been heard of since {since}"
    if holding.remaining > timedelta():
        return f"{silent}; another takes over at {clock.to_text(holding.until)}"
    return f"{silent}; waits for another to take over"


async def _holdings(
    connection: AsyncConnection, deployment_ids: Sequence[str]
) -> dict[str, LeaseHolder]:
    names = {lease_name(one): one for one in deployment_ids}
    holders = await leases.lease_holders(connection, list(names))
    return {names[name]: holding for name, holding in holders.items()}
