"""MLflow's operations on experiments."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pydantic import Field

from loopwright_registry.experiments.domain import (
    LIFECYCLE_STAGES,
    Experiment,
    ViewType,
    check_location,
    check_name,
    experiment_id_of,
)
from loopwright_registry.experiments.repository import Experiments
from loopwright_registry.mlflow.domain import ACTIVE, DELETED, check_length
from loopwright_registry.mlflow.filters import parse_filter, parse_order
from loopwright_registry.mlflow.json import (
    Answer,
    Asked,
    Call,
    Endpoint,
    Endpoints,
    Pair,
    mapping,
    pairs,
)
from loopwright_registry.mlflow.paging import page_of
from loopwright_registry.runs.repository import Runs


class ByName(Asked):
    experiment_name: str


class ById(Asked):
    experiment_id: str

    @property
    def id(self) -> int:
        return experiment_id_of(self.experiment_id)


class CreateExperiment(Asked):
    name: str
    artifact_location: str | None = None
    tags: list[Pair] = Field(default=[])


class UpdateExperiment(ById):
    new_name: str | None = None


class SetExperimentTag(ById):
    key: str
    value: str


class DeleteExperimentTag(ById):
    key: str


class SearchExperiments(Asked):
    max_results: int = 1000
    page_token: str | None = None
    filter: str | None = None
    order_by: list[str] = Field(default=[])
    view_type: ViewType = "ACTIVE_ONLY"


def written(experiment: Experiment) -> Answer:
    return {
        "experiment_id": str(experiment.experiment_id),
        "name": experiment.name,
        "artifact_location": experiment.artifact_location,
        "lifecycle_stage": experiment.lifecycle_stage,
        "last_update_time": experiment.updated_ms,
        "creation_time": experiment.created_ms,
        "tags": pairs(experiment.tags),
    }


async def create(asked: CreateExperiment, call: Call) -> Answer:
    check_name(asked.name)
    location = (asked.artifact_location or "").rstrip("/")
    check_location(location)
    tags = mapping(asked.tags)
    for key, value in tags.items():
        _check_tag(key, value)
    async with call.database.unit_of_work() as uow:
        experiment_id = await Experiments(uow.connection).add(asked.name, location or None, tags)
    return {"experiment_id": str(experiment_id)}


async def get(asked: ById, call: Call) -> Answer:
    async with call.database.read() as connection:
        return {"experiment": written(await Experiments(connection).get(asked.id))}


async def get_by_name(asked: ByName, call: Call) -> Answer:
    async with call.database.read() as connection:
        return {"experiment": written(await Experiments(connection).named(asked.experiment_name))}


async def update(asked: UpdateExperiment, call: Call) -> Answer:
    if asked.new_name is None:
        return {}
    check_name(asked.new_name)
    async with _writing(asked, call) as experiments:
        (await experiments.get(asked.id)).require_active()
        await experiments.change(asked.id, name=asked.new_name)
    return {}


async def delete(asked: ById, call: Call) -> Answer:
    return await _move(asked, call, DELETED)


async def restore(asked: ById, call: Call) -> Answer:
    return await _move(asked, call, ACTIVE)


async def set_tag(asked: SetExperimentTag, call: Call) -> Answer:
    _check_tag(asked.key, asked.value)
    async with _writing(asked, call) as experiments:
        (await experiments.get(asked.id)).require_active()
        await experiments.set_tag(asked.id, asked.key, asked.value)
    return {}


async def delete_tag(asked: DeleteExperimentTag, call: Call) -> Answer:
    async with _writing(asked, call) as experiments:
        (await experiments.get(asked.id)).require_active()
        await experiments.delete_tag(asked.id, asked.key)
    return {}


async def search(asked: SearchExperiments, call: Call) -> Answer:
    page = page_of(asked.max_results, asked.page_token, 50_000)
    conditions, orders = parse_filter(asked.filter), parse_order(asked.order_by)
    async with call.database.read() as connection:
        found = await Experiments(connection).search(
            conditions, orders, LIFECYCLE_STAGES[asked.view_type], page
        )
    return {
        "experiments": [written(item) for item in found.items],
        "next_page_token": found.next_token,
    }


def _check_tag(key: str, value: str) -> None:
    check_length("the tag key", key, 250)
    check_length("the tag value", value, 20_000)


async def _move(asked: ById, call: Call, stage: str) -> Answer:
    """The experiment and all its runs, as MLflow's server does."""
    async with call.database.unit_of_work() as uow:
        await uow.lock(f"experiment/{asked.id}")
        experiments = Experiments(uow.connection)
        await experiments.get(asked.id)
        await experiments.change(asked.id, lifecycle_stage=stage)
        await Runs(uow.connection).move_all(asked.id, stage)
    return {}


@asynccontextmanager
async def _writing(asked: ById, call: Call) -> AsyncGenerator[Experiments, None]:
    """The experiments, while nobody else writes to this one."""
    async with call.database.unit_of_work() as uow:
        await uow.lock(f"experiment/{asked.id}")
        yield Experiments(uow.connection)


_AT = "/mlflow/experiments"
ENDPOINTS: Endpoints = (
    Endpoint("POST", f"{_AT}/create", CreateExperiment, create),
    Endpoint("GET", f"{_AT}/get", ById, get),
    Endpoint("GET", f"{_AT}/get-by-name", ByName, get_by_name),
    Endpoint("POST", f"{_AT}/update", UpdateExperiment, update),
    Endpoint("POST", f"{_AT}/delete", ById, delete),
    Endpoint("POST", f"{_AT}/restore", ById, restore),
    Endpoint("POST", f"{_AT}/set-experiment-tag", SetExperimentTag, set_tag),
    Endpoint("POST", f"{_AT}/delete-experiment-tag", DeleteExperimentTag, delete_tag),
    Endpoint("POST", f"{_AT}/search", SearchExperiments, search),
    Endpoint("GET", f"{_AT}/search", SearchExperiments, search),
)
