"""Queries on versions and their seals."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import NotFoundError
from loopwright_registry.mlflow.clock import now_ms
from loopwright_registry.mlflow.domain import Tags
from loopwright_registry.mlflow.filters import Condition, OrderBy
from loopwright_registry.mlflow.paging import PageRequest, ResultPage, result_page
from loopwright_registry.mlflow.sql import (
    Clause,
    KeyValueTable,
    SearchableColumns,
    limit_to_page,
    upsert,
)
from loopwright_registry.models.domain import ModelVersion, Seal, SealedDataset
from loopwright_registry.models.tables import (
    aliases,
    model_version_tags,
    model_versions,
    registered_models,
    seals,
)

_SAME_MODEL = model_versions.c.model_id == registered_models.c.model_id
_SEARCHABLE = SearchableColumns(
    {
        "name": registered_models.c.name,
        "run_id": model_versions.c.run_id,
        "source_path": model_versions.c.source,
        "version_number": model_versions.c.version,
        "creation_timestamp": model_versions.c.created_ms,
        "last_updated_timestamp": model_versions.c.updated_ms,
    },
    {
        "tag": KeyValueTable(
            sa.and_(
                model_version_tags.c.model_id == model_versions.c.model_id,
                model_version_tags.c.version == model_versions.c.version,
            ),
            model_version_tags.c.key,
            model_version_tags.c.value,
        )
    },
)
_SELECT = sa.select(model_versions, registered_models.c.name).join(registered_models, _SAME_MODEL)


class Versions:
    """Reads and writes versions of all models inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def save(self, version: ModelVersion) -> None:
        row = {column.name: getattr(version, column.name) for column in model_versions.c}
        await upsert(self._connection, model_versions, [row])
        await self.set_tags(version.model_id, version.version, version.tags)

    async def get(self, name: str, number: int) -> ModelVersion:
        """The version; raises NotFoundError when there is none."""
        here = sa.and_(registered_models.c.name == name, model_versions.c.version == number)
        if not (found := await self._all(_SELECT.where(here))):
            raise NotFoundError(f"Model Version (name={name}, version={number}) not found")
        return found[0]

    async def find(self, model_id: str, number: int) -> ModelVersion | None:
        found = await self._all(_SELECT.where(_is(model_versions, model_id, number)))
        return found[0] if found else None

    async def of_model(self, model_id: str) -> list[ModelVersion]:
        """The versions of a model, newest first."""
        query = _SELECT.where(model_versions.c.model_id == model_id)
        return await self._all(query.order_by(model_versions.c.version.desc()))

    async def latest(self, model_ids: Sequence[str]) -> Mapping[str, list[ModelVersion]]:
        """The newest version of each stage, by model."""
        column = model_versions.c
        newest = (
            sa.select(column.model_id, sa.func.max(column.version).label("version"))
            .where(column.model_id.in_(model_ids))
            .group_by(column.model_id, column.stage)
            .subquery()
        )
        same = sa.and_(column.model_id == newest.c.model_id, column.version == newest.c.version)
        by_model: dict[str, list[ModelVersion]] = defaultdict(list)
        for version in await self._all(_SELECT.join(newest, same).order_by(column.version)):
            by_model[version.model_id].append(version)
        return by_model

    async def find_held(self, model_id: str, run_id: str) -> ModelVersion | None:
        """The version that user code made inside the run, if one is held."""
        here = sa.and_(
            model_versions.c.model_id == model_id,
            model_versions.c.run_id == run_id,
            model_versions.c.held,
        )
        found = await self._all(_SELECT.where(here).order_by(model_versions.c.version).limit(1))
        return found[0] if found else None

    async def find_sealed_by_tag(self, model_id: str, key: str, value: str) -> ModelVersion | None:
        """A sealed version of the model that carries the tag."""
        tag = _SEARCHABLE.keyed["tag"]
        here = sa.exists().where(tag.joined, tag.key == key, tag.value == value)
        sealed = sa.exists().where(
            seals.c.model_id == model_id, seals.c.version == model_versions.c.version
        )
        query = _SELECT.where(model_versions.c.model_id == model_id, here, sealed)
        found = await self._all(query.limit(1))
        return found[0] if found else None

    async def update(self, model_id: str, number: int, **values: Any) -> None:
        here = _is(model_versions, model_id, number)
        changed = sa.update(model_versions).where(here).values(**values, updated_ms=now_ms())
        await self._connection.execute(changed)

    async def delete(self, model_id: str, number: int) -> None:
        for table in (model_version_tags, seals, model_versions):
            await self._connection.execute(sa.delete(table).where(_is(table, model_id, number)))

    async def set_tags(self, model_id: str, number: int, tags: Tags) -> None:
        rows = [
            {"model_id": model_id, "version": number, "key": key, "value": value}
            for key, value in tags.items()
        ]
        await upsert(self._connection, model_version_tags, rows)

    async def delete_tag(self, model_id: str, number: int, key: str) -> None:
        here = sa.and_(_is(model_version_tags, model_id, number), model_version_tags.c.key == key)
        await self._connection.execute(sa.delete(model_version_tags).where(here))

    async def seal(self, model_id: str, number: int, seal: Seal, event_id: str) -> None:
        """Seal a version once: the database refuses a second seal of a version."""
        row = {"model_id": model_id, "version": number, "digest": seal.digest,
               "event_id": event_id, "facts": asdict(seal)}  # fmt: skip
        await self._connection.execute(sa.insert(seals).values(row))

    async def get_seal(self, model_id: str, number: int) -> Seal | None:
        query = sa.select(seals.c.facts).where(_is(seals, model_id, number))
        facts = await self._connection.scalar(query)
        if facts is None:
            return None
        datasets = [SealedDataset(**dataset) for dataset in facts["datasets"]]
        return Seal(**{**facts, "datasets": datasets})

    async def registered_event_id(self, model_id: str, number: int) -> str | None:
        """The id of the version's `model-registered`."""
        query = sa.select(seals.c.event_id).where(_is(seals, model_id, number))
        event_id = await self._connection.scalar(query)
        return str(event_id) if event_id else None

    async def search(
        self, conditions: Sequence[Condition], orders: Sequence[OrderBy], page: PageRequest
    ) -> ResultPage[ModelVersion]:
        """Versions that meet all conditions; InvalidError names a field that cannot be searched."""
        ties = (
            model_versions.c.updated_ms.desc(),
            registered_models.c.name,
            model_versions.c.version.desc(),
        )
        query = _SELECT.where(*_SEARCHABLE.where(conditions))
        query = limit_to_page(query.order_by(*_SEARCHABLE.order(orders, ties)), page)
        return result_page(await self._all(query), page)

    async def _all(self, query: sa.Select[Any]) -> list[ModelVersion]:
        rows = (await self._connection.execute(query)).all()
        ids = {row.model_id for row in rows}
        tags = await self._tags(ids)
        names = await self._aliases(ids)
        return [
            ModelVersion(
                **row._asdict(),
                tags=tags.get((row.model_id, row.version), {}),
                aliases=names.get((row.model_id, row.version), []),
            )
            for row in rows
        ]

    async def _tags(self, ids: set[str]) -> Mapping[tuple[str, int], dict[str, str]]:
        table = model_version_tags
        query = sa.select(table).where(table.c.model_id.in_(ids)).order_by(table.c.key)
        by_version: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        for row in await self._connection.execute(query):
            by_version[row.model_id, row.version][row.key] = row.value
        return by_version

    async def _aliases(self, ids: set[str]) -> Mapping[tuple[str, int], list[str]]:
        query = sa.select(aliases).where(aliases.c.model_id.in_(ids)).order_by(aliases.c.alias)
        by_version: dict[tuple[str, int], list[str]] = defaultdict(list)
        for row in await self._connection.execute(query):
            by_version[row.model_id, row.version].append(row.alias)
        return by_version


def _is(table: sa.Table, model_id: str, number: int) -> Clause:
    return sa.and_(table.c.model_id == model_id, table.c.version == number)
