"""The registry's aliases of each model, as the deployer has heard of them."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import upsert
from loopwright_deployer.deployments.tables import aliases


class ModelAliases:
    """Queries over the aliases of one model in one environment."""

    def __init__(self, connection: AsyncConnection, environment: str, model_id: str) -> None:
        self._connection = connection
        self._model_key = {"environment": environment, "model_id": model_id}

    async def all(self) -> dict[str, int]:
        """Versions by alias, whether or not they can be served."""
        query = sa.select(aliases.c.alias, aliases.c.version).where(*self._mine())
        rows = (await self._connection.execute(query.order_by(aliases.c.alias))).all()
        return {row.alias: row.version for row in rows}

    async def set_version(self, alias: str, version: int | None) -> None:
        """Move the alias, or with None remove it."""
        if version is None:
            gone = sa.delete(aliases).where(*self._mine(), aliases.c.alias == alias)
            await self._connection.execute(gone)
        else:
            row = {**self._model_key, "alias": alias, "version": version}
            await upsert(self._connection, aliases, row, update=("version",))

    def _mine(self) -> list[sa.ColumnElement[bool]]:
        return [aliases.c[name] == value for name, value in self._model_key.items()]
