"""Queries on what is logged to runs: metrics, parameters, tags, inputs, outputs."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import NotFoundError
from loopwright_registry.mlflow.domain import Metric, Params, latest
from loopwright_registry.mlflow.paging import PageRequest, ResultPage, result_page
from loopwright_registry.mlflow.sql import chunks, insert_new, limit_to_page, upsert
from loopwright_registry.runs.domain import (
    NAME_TAG,
    DatasetInput,
    LogBatchData,
    ModelOutput,
    Run,
    RunInfo,
)
from loopwright_registry.runs.tables import (
    dataset_inputs,
    latest_metrics,
    metrics,
    model_inputs,
    model_outputs,
    params,
    run_tags,
    runs,
)

T = TypeVar("T")


class RunData:
    """Reads and writes what is logged to runs inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def log(self, run_id: str, batch: LogBatchData) -> None:
        """Write a batch; repeating it changes nothing."""
        await insert_new(
            self._connection,
            params,
            [{"run_id": run_id, "key": key, "value": value} for key, value in batch.params],
        )
        await self.set_tags(run_id, batch.tags)
        await self._log_metrics(run_id, batch.metrics)

    async def params(self, run_id: str) -> Params:
        query = sa.select(params.c.key, params.c.value).where(params.c.run_id == run_id)
        rows = (await self._connection.execute(query)).all()
        return {row.key: row.value for row in rows}

    async def tag(self, run_id: str, key: str) -> str | None:
        """The value of a tag; None where the run has it not."""
        query = sa.select(run_tags.c.value).where(
            run_tags.c.run_id == run_id, run_tags.c.key == key
        )
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def set_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> None:
        """Set tags, of which `mlflow.runName` is the run's name."""
        rows = [{"run_id": run_id, "key": key, "value": value} for key, value in tags]
        await upsert(self._connection, run_tags, rows)
        for key, value in tags:
            if key == NAME_TAG:
                renamed = sa.update(runs).where(runs.c.run_id == run_id).values(name=value)
                await self._connection.execute(renamed)

    async def delete_tag(self, run_id: str, key: str) -> None:
        """NotFoundError when the run has no such tag."""
        deleted = await self._connection.execute(
            sa.delete(run_tags).where(run_tags.c.run_id == run_id, run_tags.c.key == key)
        )
        if not deleted.rowcount:
            raise NotFoundError(f"No tag with name: {key} in run with id {run_id}")

    async def log_inputs(
        self, run_id: str, datasets: Sequence[DatasetInput], models: Sequence[str]
    ) -> None:
        names = DatasetInput.__dataclass_fields__
        rows = [
            {"run_id": run_id, **{name: getattr(item, name) for name in names}} for item in datasets
        ]
        await upsert(self._connection, dataset_inputs, rows)
        rows = [{"run_id": run_id, "model_id": model_id} for model_id in models]
        await insert_new(self._connection, model_inputs, rows)

    async def log_outputs(self, run_id: str, outputs: Sequence[ModelOutput]) -> None:
        rows = [{"run_id": run_id, "model_id": o.model_id, "step": o.step} for o in outputs]
        await insert_new(self._connection, model_outputs, rows)

    async def metric_history(self, run_id: str, key: str, page: PageRequest) -> ResultPage[Metric]:
        """Every point of the metric, oldest first; times are milliseconds since 1970."""
        query = sa.select(metrics).where(metrics.c.run_id == run_id, metrics.c.key == key)
        order = (metrics.c.timestamp, metrics.c.step, metrics.c.value)
        rows = (await self._connection.execute(limit_to_page(query.order_by(*order), page))).all()
        return result_page([_metric(row) for row in rows], page)

    async def complete(self, infos: Sequence[RunInfo]) -> list[Run]:
        """The runs with all that is logged to them, in their order."""
        ids = [info.run_id for info in infos]
        points = await self._per_run(latest_metrics, ids, _metric)
        given = await self._per_run(params, ids, _pair)
        tags = await self._per_run(run_tags, ids, _pair)
        datasets = await self._per_run(dataset_inputs, ids, _dataset)
        read = await self._per_run(model_inputs, ids, lambda row: str(row.model_id))
        made = await self._per_run(
            model_outputs, ids, lambda row: ModelOutput(row.model_id, row.step)
        )
        return [
            Run(
                info=info,
                metrics=points[info.run_id],
                params=dict(given[info.run_id]),
                tags=dict(tags[info.run_id]),
                datasets=datasets[info.run_id],
                model_inputs=read[info.run_id],
                model_outputs=made[info.run_id],
            )
            for info in infos
        ]

    async def _log_metrics(self, run_id: str, points: Sequence[Metric]) -> None:
        await insert_new(self._connection, metrics, [_metric_row(run_id, p) for p in points])
        newest = latest(points)
        known = await self._per_run(latest_metrics, [run_id], _metric, list(newest))
        newest = latest([*known[run_id], *newest.values()])
        await upsert(
            self._connection, latest_metrics, [_metric_row(run_id, p) for p in newest.values()]
        )

    async def _per_run(
        self,
        table: sa.Table,
        ids: Sequence[str],
        made: Callable[[sa.Row[Any]], T],
        keys: Sequence[str] | None = None,
    ) -> dict[str, list[T]]:
        per_run: dict[str, list[T]] = defaultdict(list)
        for some in chunks(ids):
            query = sa.select(table).where(table.c.run_id.in_(some))
            if keys is not None:
                query = query.where(table.c.key.in_(keys))
            for row in await self._connection.execute(query.order_by(*table.primary_key)):
                per_run[row.run_id].append(made(row))
        return per_run


def _pair(row: sa.Row[Any]) -> tuple[str, str]:
    return (row.key, row.value)


def _metric(row: sa.Row[Any]) -> Metric:
    value = float("nan") if row.is_nan else row.value
    return Metric(key=row.key, value=value, timestamp=row.timestamp, step=row.step)


def _dataset(row: sa.Row[Any]) -> DatasetInput:
    return DatasetInput(**{name: getattr(row, name) for name in DatasetInput.__dataclass_fields__})


def _metric_row(run_id: str, point: Metric) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "key": point.key,
        "step": point.step,
        "timestamp": point.timestamp,
        "value": point.stored_value,
        "is_nan": point.is_nan,
    }
