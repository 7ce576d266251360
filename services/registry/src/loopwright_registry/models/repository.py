"""Queries on registered models and aliases."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import AlreadyExistsError, NotFoundError
from loopwright_registry.mlflow.clock import now_ms
from loopwright_registry.mlflow.domain import Tags
from loopwright_registry.mlflow.filters import Condition, OrderBy
from loopwright_registry.mlflow.paging import PageRequest, ResultPage, result_page
from loopwright_registry.mlflow.sql import (
    Clause,
    KeyValueTable,
    SearchableColumns,
    chunks,
    insert_new,
    limit_to_page,
    upsert,
)
from loopwright_registry.models.domain import RegisteredModel
from loopwright_registry.models.tables import (
    aliases,
    champion_decisions,
    registered_model_tags,
    registered_models,
)

_SEARCHABLE = SearchableColumns(
    {
        "name": registered_models.c.name,
        "timestamp": registered_models.c.updated_ms,
        "last_updated_timestamp": registered_models.c.updated_ms,
    },
    {
        "tag": KeyValueTable(
            registered_model_tags.c.model_id == registered_models.c.model_id,
            registered_model_tags.c.key,
            registered_model_tags.c.value,
        )
    },
)
_COLUMNS = [column for column in registered_models.c if column.name != "last_version"]


class ChampionDecision(NamedTuple):
    """The version that the deployer made champion (None: there is none any more), and when."""

    version: int | None
    decided_at: str
    pending: bool


class Models:
    """Reads and writes registered models inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(self, name: str, description: str | None) -> RegisteredModel:
        """Create a model; raises AlreadyExistsError when the name is taken."""
        at = now_ms()
        row = {"model_id": uuid4().hex, "name": name, "description": description,
               "last_version": 0, "created_ms": at, "updated_ms": at}  # fmt: skip
        if not await insert_new(self._connection, registered_models, [row]):
            raise AlreadyExistsError(f"Registered Model (name={name}) already exists.")
        return await self.get_by_name(name)

    async def get_by_name(self, name: str) -> RegisteredModel:
        """The model of that name; raises NotFoundError when there is none."""
        found = await self._one(registered_models.c.name == name)
        if found is None:
            raise NotFoundError(f"Registered Model with name={name} not found")
        return found

    async def find(self, model_id: str) -> RegisteredModel | None:
        return await self._one(registered_models.c.model_id == model_id)

    async def update(self, model_id: str, **values: Any) -> None:
        """Change columns of a model.

        Raises AlreadyExistsError when another model has the new name.
        """
        changed = sa.update(registered_models).where(registered_models.c.model_id == model_id)
        try:
            await self._connection.execute(changed.values(**values, updated_ms=now_ms()))
        except sa.exc.IntegrityError:
            raise AlreadyExistsError(
                f"Registered Model (name={values['name']}) already exists."
            ) from None

    async def next_version(self, model_id: str) -> int:
        """The next number, never given before; locks the model's row."""
        last = registered_models.c.last_version
        number = await self._connection.scalar(
            sa.update(registered_models)
            .where(registered_models.c.model_id == model_id)
            .values(last_version=last + 1, updated_ms=now_ms())
            .returning(last)
        )
        return int(number or 0)

    async def delete(self, model_id: str) -> None:
        for table in (registered_model_tags, aliases, registered_models):
            await self._connection.execute(sa.delete(table).where(table.c.model_id == model_id))

    async def set_tags(self, model_id: str, tags: Tags) -> None:
        rows = [{"model_id": model_id, "key": k, "value": v} for k, v in tags.items()]
        await upsert(self._connection, registered_model_tags, rows)

    async def delete_tag(self, model_id: str, key: str) -> None:
        tag = registered_model_tags.c
        await self._connection.execute(
            sa.delete(registered_model_tags).where(tag.model_id == model_id, tag.key == key)
        )

    async def set_alias(self, model_id: str, alias: str, version: int | None) -> int | None:
        """Move or (None) remove the alias; returns where it was before."""
        here = sa.and_(aliases.c.model_id == model_id, aliases.c.alias == alias)
        before = await self._connection.scalar(sa.select(aliases.c.version).where(here))
        if version is None:
            await self._connection.execute(sa.delete(aliases).where(here))
        else:
            row = {"model_id": model_id, "alias": alias, "version": version}
            await upsert(self._connection, aliases, [row])
        return int(before) if before is not None else None

    async def champion_decision(self, model_id: str) -> ChampionDecision | None:
        decision = champion_decisions.c
        query = sa.select(decision.version, decision.decided_at, decision.pending)
        row = (await self._connection.execute(query.where(decision.model_id == model_id))).first()
        return ChampionDecision(*row) if row else None

    async def set_champion_decision(self, model_id: str, decision: ChampionDecision) -> None:
        row = {"model_id": model_id, **decision._asdict()}
        await upsert(self._connection, champion_decisions, [row])

    async def search(
        self, conditions: Sequence[Condition], orders: Sequence[OrderBy], page: PageRequest
    ) -> ResultPage[RegisteredModel]:
        """Models that meet all conditions; InvalidError names a field that cannot be searched."""
        query = sa.select(*_COLUMNS).where(*_SEARCHABLE.where(conditions))
        order = _SEARCHABLE.order(orders, [registered_models.c.name])
        rows = (await self._connection.execute(limit_to_page(query.order_by(*order), page))).all()
        found = result_page(rows, page)
        return ResultPage(await self._complete(found.items), found.next_token)

    async def _one(self, *where: Clause) -> RegisteredModel | None:
        rows = (await self._connection.execute(sa.select(*_COLUMNS).where(*where))).all()
        return (await self._complete(rows))[0] if rows else None

    async def _complete(self, rows: Sequence[sa.Row[Any]]) -> list[RegisteredModel]:
        ids = [row.model_id for row in rows]
        tags = await self._grouped(registered_model_tags, "key", "value", ids)
        named = await self._grouped(aliases, "alias", "version", ids)
        return [
            RegisteredModel(
                **row._asdict(),
                tags=tags.get(row.model_id, {}),
                aliases=named.get(row.model_id, {}),
            )
            for row in rows
        ]

    async def _grouped(
        self, table: sa.Table, key: str, value: str, ids: Sequence[str]
    ) -> Mapping[str, dict[str, Any]]:
        grouped: dict[str, dict[str, Any]] = defaultdict(dict)
        for some in chunks(ids):
            query = sa.select(table.c.model_id, table.c[key], table.c[value])
            query = query.where(table.c.model_id.in_(some)).order_by(table.c[key])
            for model_id, name, content in await self._connection.execute(query):
                grouped[model_id][name] = content
        return grouped
