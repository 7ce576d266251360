"""Queries on the routes that the deployer reported."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_registry.mlflow.sql import upsert
from loopwright_registry.models.domain import LoadedVersions
from loopwright_registry.models.tables import routes


class LoadedVersionsRepository:
    """Reads and writes the newest route of each model and environment inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def save(self, model_id: str, route: LoadedVersions) -> None:
        """Keep the route; an older revision than the known one changes nothing."""
        known = await self.of_model(model_id)
        if any(r.environment == route.environment and r.revision > route.revision for r in known):
            return
        versions = {str(number): use for number, use in route.versions.items()}
        row = {"model_id": model_id, "environment": route.environment,
               "revision": route.revision, "versions": versions}  # fmt: skip
        await upsert(self._connection, routes, [row])

    async def of_model(self, model_id: str) -> list[LoadedVersions]:
        query = sa.select(routes.c.environment, routes.c.revision, routes.c.versions)
        query = query.where(routes.c.model_id == model_id).order_by(routes.c.environment)
        return [
            LoadedVersions(
                environment, revision, {int(number): use for number, use in versions.items()}
            )
            for environment, revision, versions in await self._connection.execute(query)
        ]
