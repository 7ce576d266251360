"""Queries on runs."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import NotFoundError
from loopwright_registry.mlflow.filters import Condition, OrderBy
from loopwright_registry.mlflow.paging import PageRequest, ResultPage, result_page
from loopwright_registry.mlflow.sql import KeyValueTable, SearchableColumns, limit_to_page
from loopwright_registry.runs.domain import Run, RunInfo
from loopwright_registry.runs.run_data_repository import RunData
from loopwright_registry.runs.tables import latest_metrics, params, run_tags, runs


def _keyed(table: sa.Table) -> KeyValueTable:
    is_nan = table.c.is_nan if "is_nan" in table.c else None
    return KeyValueTable(table.c.run_id == runs.c.run_id, table.c.key, table.c.value, is_nan)


_SEARCHABLE = SearchableColumns(
    {
        "run_id": runs.c.run_id,
        "run_uuid": runs.c.run_id,
        "run_name": runs.c.name,
        "name": runs.c.name,
        "user_id": runs.c.user_id,
        "status": runs.c.status,
        "artifact_uri": runs.c.artifact_uri,
        "start_time": runs.c.start_ms,
        "created": runs.c.start_ms,
        "end_time": runs.c.end_ms,
    },
    {"metric": _keyed(latest_metrics), "param": _keyed(params), "tag": _keyed(run_tags)},
)


class Runs:
    """Reads and writes runs inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, info: RunInfo) -> None:
        row = {name: getattr(info, name) for name in RunInfo.__dataclass_fields__}
        await self._connection.execute(sa.insert(runs).values(row))

    async def info(self, run_id: str) -> RunInfo:
        """The run itself, also a deleted one; NotFoundError when there is none."""
        query = sa.select(runs).where(runs.c.run_id == run_id)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise NotFoundError(f"Run with id={run_id} not found")
        return RunInfo(**row._asdict())

    async def get(self, run_id: str) -> Run:
        """The run with all that is logged to it; NotFoundError when there is none."""
        return (await RunData(self._connection).complete([await self.info(run_id)]))[0]

    async def update(self, run_id: str, **values: Any) -> None:
        statement = sa.update(runs).where(runs.c.run_id == run_id)
        await self._connection.execute(statement.values(**values))

    async def set_stage_of_experiment(self, experiment_id: int, stage: str) -> None:
        """Move the experiment's runs that are not in this stage yet."""
        here = (runs.c.experiment_id == experiment_id, runs.c.lifecycle_stage != stage)
        moved = sa.update(runs).where(*here).values(lifecycle_stage=stage)
        await self._connection.execute(moved)

    async def owning_artifacts(self, uris: Sequence[str]) -> list[str]:
        """The runs whose artifacts lie at one of the URIs."""
        query = sa.select(runs.c.run_id).where(runs.c.artifact_uri.in_(uris))
        return list((await self._connection.scalars(query)).all())

    async def search(
        self,
        experiment_ids: Sequence[int],
        conditions: Sequence[Condition],
        orders: Sequence[OrderBy],
        stages: Sequence[str],
        page: PageRequest,
    ) -> ResultPage[Run]:
        """Runs that meet all conditions; InvalidError names a field that cannot be searched."""
        ties = (runs.c.start_ms.desc(), runs.c.run_id)
        query = sa.select(runs).where(
            runs.c.experiment_id.in_(experiment_ids),
            runs.c.lifecycle_stage.in_(stages),
            *_SEARCHABLE.where(conditions),
        )
        query = limit_to_page(query.order_by(*_SEARCHABLE.order(orders, ties)), page)
        rows = (await self._connection.execute(query)).all()
        infos = result_page([RunInfo(**row._asdict()) for row in rows], page)
        return ResultPage(await RunData(self._connection).complete(infos.items), infos.next_token)
