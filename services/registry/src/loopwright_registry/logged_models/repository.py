"""Queries on logged models."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import NotFoundError
from loopwright_registry.logged_models.domain import LoggedModel
from loopwright_registry.logged_models.tables import (
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)
from loopwright_registry.mlflow.clock import now_ms
from loopwright_registry.mlflow.domain import Metric, Params, Tags
from loopwright_registry.mlflow.filters import Condition, OrderBy
from loopwright_registry.mlflow.paging import PageRequest, ResultPage, result_page
from loopwright_registry.mlflow.sql import (
    KeyValueTable,
    SearchableColumns,
    insert_new,
    limit_to_page,
    upsert,
)


def _keyed(table: sa.Table) -> KeyValueTable:
    same = table.c.model_id == logged_models.c.model_id
    if table is not logged_model_metrics:
        return KeyValueTable(same, table.c.key, table.c.value)
    newest = (table.c.step.desc(), table.c.timestamp.desc(), table.c.run_id)
    return KeyValueTable(same, table.c.key, table.c.value, table.c.is_nan, newest)


_SEARCHABLE = SearchableColumns(
    {
        "name": logged_models.c.name,
        "model_id": logged_models.c.model_id,
        "model_type": logged_models.c.model_type,
        "status": logged_models.c.status,
        "source_run_id": logged_models.c.source_run_id,
        "experiment_id": logged_models.c.experiment_id,
        "creation_timestamp": logged_models.c.created_ms,
        "creation_time": logged_models.c.created_ms,
        "last_updated_timestamp": logged_models.c.updated_ms,
    },
    {
        "tag": _keyed(logged_model_tags),
        "param": _keyed(logged_model_params),
        "metric": _keyed(logged_model_metrics),
    },
)


class LoggedModels:
    """The logged models, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, logged: LoggedModel) -> None:
        row = {column.name: getattr(logged, column.name) for column in logged_models.c}
        await self._connection.execute(sa.insert(logged_models).values(row))
        await self.set_params(logged.model_id, logged.params)
        await self.set_tags(logged.model_id, logged.tags)

    async def get(self, model_id: str) -> LoggedModel:
        """NotFoundError when there is none."""
        query = sa.select(logged_models).where(logged_models.c.model_id == model_id)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise NotFoundError(f"Logged model with ID '{model_id}' not found.")
        return await self._complete(row)

    async def find_by_run(self, run_id: str, name: str) -> LoggedModel | None:
        """The newest one that the run logged under the name."""
        query = sa.select(logged_models).where(
            logged_models.c.source_run_id == run_id, logged_models.c.name == name
        )
        newest = query.order_by(logged_models.c.created_ms.desc()).limit(1)
        row = (await self._connection.execute(newest)).first()
        return await self._complete(row) if row else None

    async def runs_owning(self, uris: Sequence[str]) -> list[str]:
        """The runs of the logged models whose artifacts lie at one of the URIs."""
        column = logged_models.c
        query = sa.select(column.source_run_id).where(
            column.artifact_uri.in_(uris), column.source_run_id.is_not(None)
        )
        return [str(run_id) for run_id in (await self._connection.scalars(query)).all()]

    async def set_status(self, model_id: str, status: str) -> None:
        await self._connection.execute(
            sa.update(logged_models)
            .where(logged_models.c.model_id == model_id)
            .values(status=status, updated_ms=now_ms())
        )

    async def set_params(self, model_id: str, params: Params) -> None:
        rows = [{"model_id": model_id, "key": k, "value": v} for k, v in params.items()]
        await insert_new(self._connection, logged_model_params, rows)

    async def set_tags(self, model_id: str, tags: Tags) -> None:
        rows = [{"model_id": model_id, "key": k, "value": v} for k, v in tags.items()]
        await upsert(self._connection, logged_model_tags, rows)

    async def delete_tag(self, model_id: str, key: str) -> None:
        """NotFoundError when the logged model has no such tag."""
        tag = logged_model_tags.c
        deleted = await self._connection.execute(
            sa.delete(logged_model_tags).where(tag.model_id == model_id, tag.key == key)
        )
        if not deleted.rowcount:
            raise NotFoundError(f"No tag with name: {key} in logged model {model_id}")

    async def delete(self, model_id: str) -> None:
        for table in (logged_model_metrics, logged_model_params, logged_model_tags, logged_models):
            await self._connection.execute(sa.delete(table).where(table.c.model_id == model_id))

    async def log_metrics(self, points: Sequence[Metric]) -> None:
        """Keep the points that name a logged model."""
        rows = [
            {
                "model_id": point.model_id,
                "key": point.key,
                "step": point.step,
                "timestamp": point.timestamp,
                "run_id": point.run_id,
                "value": point.stored_value,
                "is_nan": point.is_nan,
                "dataset_name": point.dataset_name,
                "dataset_digest": point.dataset_digest,
            }
            for point in points
            if point.model_id
        ]
        await upsert(self._connection, logged_model_metrics, rows)

    async def search(
        self,
        experiment_ids: Sequence[int],
        conditions: Sequence[Condition],
        orders: Sequence[OrderBy],
        page: PageRequest,
    ) -> ResultPage[LoggedModel]:
        """Logged models that meet all conditions; InvalidError names a field that none has."""
        ties = (logged_models.c.created_ms.desc(), logged_models.c.model_id)
        query = sa.select(logged_models).where(
            logged_models.c.experiment_id.in_(experiment_ids), *_SEARCHABLE.where(conditions)
        )
        query = limit_to_page(query.order_by(*_SEARCHABLE.order(orders, ties)), page)
        rows = (await self._connection.execute(query)).all()
        return result_page([await self._complete(row) for row in rows], page)

    async def _complete(self, row: sa.Row[Any]) -> LoggedModel:
        points = [
            _metric(metric) for metric in await self._rows(logged_model_metrics, row.model_id)
        ]
        tags = await self._rows(logged_model_tags, row.model_id)
        params = await self._rows(logged_model_params, row.model_id)
        return LoggedModel(
            **row._asdict(),
            tags={tag.key: tag.value for tag in tags},
            params={param.key: param.value for param in params},
            metrics=points,
        )

    async def _rows(self, table: sa.Table, model_id: str) -> Sequence[sa.Row[Any]]:
        query = sa.select(table).where(table.c.model_id == model_id)
        return (await self._connection.execute(query.order_by(*table.primary_key))).all()


def _metric(row: sa.Row[Any]) -> Metric:
    return Metric(
        key=row.key,
        value=float("nan") if row.is_nan else row.value,
        timestamp=row.timestamp,
        step=row.step,
        run_id=row.run_id,
        model_id=row.model_id,
        dataset_name=row.dataset_name,
        dataset_digest=row.dataset_digest,
    )
