"""Queries on experiments."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import AlreadyExistsError, NotFoundError
from loopwright_registry.experiments.domain import Experiment
from loopwright_registry.experiments.tables import experiment_tags, experiments
from loopwright_registry.mlflow.clock import now_ms
from loopwright_registry.mlflow.domain import ACTIVE, Tags
from loopwright_registry.mlflow.filters import Condition, OrderBy
from loopwright_registry.mlflow.paging import PageRequest, ResultPage, result_page
from loopwright_registry.mlflow.sql import (
    KeyValueTable,
    SearchableColumns,
    insert_new,
    limit_to_page,
    upsert,
)

_SEARCHABLE = SearchableColumns(
    {
        "name": experiments.c.name,
        "experiment_id": experiments.c.experiment_id,
        "creation_time": experiments.c.created_ms,
        "last_update_time": experiments.c.updated_ms,
    },
    {
        "tag": KeyValueTable(
            experiment_tags.c.experiment_id == experiments.c.experiment_id,
            experiment_tags.c.key,
            experiment_tags.c.value,
        )
    },
)


class Experiments:
    """The experiments, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(self, name: str, location: str | None, tags: Tags) -> int:
        """The id of a new experiment; AlreadyExistsError when the name is taken."""
        at = now_ms()
        row = {"name": name, "artifact_location": "", "lifecycle_stage": ACTIVE,
               "created_ms": at, "updated_ms": at}  # fmt: skip
        if not await insert_new(self._connection, experiments, [row]):
            raise AlreadyExistsError(f"Experiment '{name}' already exists.")
        experiment_id = (await self.get_by_name(name)).experiment_id
        root = location or f"mlflow-artifacts:/{experiment_id}"
        await self.update(experiment_id, artifact_location=root)
        for key, value in tags.items():
            await self.set_tag(experiment_id, key, value)
        return experiment_id

    async def get(self, experiment_id: int) -> Experiment:
        """NotFoundError when there is none; deleted ones are still found."""
        found = await self._select(experiments.c.experiment_id == experiment_id)
        if found is None:
            raise NotFoundError(f"No Experiment with id={experiment_id} exists")
        return found

    async def get_by_name(self, name: str) -> Experiment:
        """The experiment of that name; NotFoundError when there is none."""
        found = await self._select(experiments.c.name == name)
        if found is None:
            raise NotFoundError(f"Could not find experiment with name '{name}'")
        return found

    async def update(self, experiment_id: int, **values: Any) -> None:
        """AlreadyExistsError when another experiment has the new name."""
        changed = sa.update(experiments).where(experiments.c.experiment_id == experiment_id)
        try:
            await self._connection.execute(changed.values(**values, updated_ms=now_ms()))
        except sa.exc.IntegrityError:
            raise AlreadyExistsError(f"Experiment '{values['name']}' already exists.") from None

    async def set_tag(self, experiment_id: int, key: str, value: str) -> None:
        row = {"experiment_id": experiment_id, "key": key, "value": value}
        await upsert(self._connection, experiment_tags, [row])

    async def delete_tag(self, experiment_id: int, key: str) -> None:
        """NotFoundError when there is no such tag."""
        deleted = await self._connection.execute(
            sa.delete(experiment_tags).where(
                experiment_tags.c.experiment_id == experiment_id, experiment_tags.c.key == key
            )
        )
        if not deleted.rowcount:
            raise NotFoundError(f"No tag with name: {key} in experiment with id {experiment_id}")

    async def search(
        self,
        conditions: Sequence[Condition],
        orders: Sequence[OrderBy],
        stages: Sequence[str],
        page: PageRequest,
    ) -> ResultPage[Experiment]:
        """Experiments that meet all conditions; InvalidError names a field that none has."""
        ties = (experiments.c.created_ms.desc(), experiments.c.experiment_id)
        query = sa.select(experiments).where(
            experiments.c.lifecycle_stage.in_(stages), *_SEARCHABLE.where(conditions)
        )
        query = limit_to_page(query.order_by(*_SEARCHABLE.order(orders, ties)), page)
        rows = (await self._connection.execute(query)).all()
        return result_page([await self._with_tags(row) for row in rows], page)

    async def _select(self, *where: sa.ColumnElement[bool]) -> Experiment | None:
        row = (await self._connection.execute(sa.select(experiments).where(*where))).one_or_none()
        return await self._with_tags(row) if row else None

    async def _with_tags(self, row: sa.Row[Any]) -> Experiment:
        query = sa.select(experiment_tags.c.key, experiment_tags.c.value).where(
            experiment_tags.c.experiment_id == row.experiment_id
        )
        tags = (await self._connection.execute(query.order_by(experiment_tags.c.key))).all()
        return Experiment(**row._asdict(), tags={tag.key: tag.value for tag in tags})
