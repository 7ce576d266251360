"""MLflow's operations on experiments."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pydantic import Field

from loopwright_common.names import check_name
from loopwright_registry.experiments.domain import (
    LIFECYCLE_STAGES,
    Experiment,
    ViewType,
    check_experiment_name,
    check_location,
    experiment_id_of,
)
from loopwright_registry.experiments.repository import Experiments
from loopwright_registry.mlflow.domain import ACTIVE, DELETED, check_length
from loopwright_registry.mlflow.endpoint import Endpoint, Endpoints, MlflowContext
from loopwright_registry.mlflow.filters import parse_filter, parse_order
from loopwright_registry.mlflow.json import (
    KeyValue,
    MlflowRequest,
    MlflowResponse,
    mapping_of,
    pairs_json,
)
from loopwright_registry.mlflow.paging import page_request
from loopwright_registry.runs.repository import Runs
from loopwright_registry.runs.run_fencing import require_no_attempt


class ExperimentByName(MlflowRequest):
    experiment_name: str


class ExperimentById(MlflowRequest):
    experiment_id: str

    @property
    def id(self) -> int:
        return experiment_id_of(self.experiment_id)


class CreateExperiment(MlflowRequest):
    name: str
    artifact_location: str | None = None
    tags: list[KeyValue] = Field(default=[])


class UpdateExperiment(ExperimentById):
    new_name: str | None = None


class SetExperimentTag(ExperimentById):
    key: str
    value: str


class DeleteExperimentTag(ExperimentById):
    key: str


class SearchExperiments(MlflowRequest):
    max_results: int = 1000
    page_token: str | None = None
    filter: str | None = None
    order_by: list[str] = Field(default=[])
    view_type: ViewType = "ACTIVE_ONLY"


def experiment_json(experiment: Experiment) -> MlflowResponse:
    return {
        "experiment_id": str(experiment.experiment_id),
        "name": experiment.name,
        "artifact_location": experiment.artifact_location,
        "lifecycle_stage": experiment.lifecycle_stage,
        "last_update_time": experiment.updated_ms,
        "creation_time": experiment.created_ms,
        "tags": pairs_json(experiment.tags),
    }


async def create(request: CreateExperiment, context: MlflowContext) -> MlflowResponse:
    check_experiment_name(request.name)
    location = (request.artifact_location or "").rstrip("/")
    if location:
        check_location(location)
    tags = mapping_of(request.tags)
    for key, value in tags.items():
        _check_tag(key, value)
    async with context.database.unit_of_work() as uow:
        experiment_id = await Experiments(uow.connection).create(
            request.name, location or None, tags
        )
    return {"experiment_id": str(experiment_id)}


async def get(request: ExperimentById, context: MlflowContext) -> MlflowResponse:
    async with context.database.read() as connection:
        return {"experiment": experiment_json(await Experiments(connection).get(request.id))}


async def get_by_name(request: ExperimentByName, context: MlflowContext) -> MlflowResponse:
    async with context.database.read() as connection:
        return {
            "experiment": experiment_json(
                await Experiments(connection).get_by_name(request.experiment_name)
            )
        }


async def update(request: UpdateExperiment, context: MlflowContext) -> MlflowResponse:
    if request.new_name is None:
        return {}
    check_experiment_name(request.new_name)
    async with _writing(request, context) as experiments:
        (await experiments.get(request.id)).require_active()
        await experiments.update(request.id, name=request.new_name)
    return {}


async def delete(request: ExperimentById, context: MlflowContext) -> MlflowResponse:
    return await _move(request, context, DELETED)


async def restore(request: ExperimentById, context: MlflowContext) -> MlflowResponse:
    return await _move(request, context, ACTIVE)


async def set_tag(request: SetExperimentTag, context: MlflowContext) -> MlflowResponse:
    _check_tag(request.key, request.value)
    async with _writing(request, context) as experiments:
        (await experiments.get(request.id)).require_active()
        await experiments.set_tag(request.id, request.key, request.value)
    return {}


async def delete_tag(request: DeleteExperimentTag, context: MlflowContext) -> MlflowResponse:
    async with _writing(request, context) as experiments:
        (await experiments.get(request.id)).require_active()
        await experiments.delete_tag(request.id, request.key)
    return {}


async def search(request: SearchExperiments, context: MlflowContext) -> MlflowResponse:
    page = page_request(request.max_results, request.page_token, 50_000)
    conditions, orders = parse_filter(request.filter), parse_order(request.order_by)
    async with context.database.read() as connection:
        found = await Experiments(connection).search(
            conditions, orders, LIFECYCLE_STAGES[request.view_type], page
        )
    return {
        "experiments": [experiment_json(item) for item in found.items],
        "next_page_token": found.next_token,
    }


def _check_tag(key: str, value: str) -> None:
    check_name("key", key)
    check_length("the tag key", key, 250)
    check_length("the tag value", value, 20_000)


async def _move(request: ExperimentById, context: MlflowContext, stage: str) -> MlflowResponse:
    """Move the experiment and all its runs to the stage, as MLflow's server does.

    RefusedError for an attempt of a run, ConflictError while one is under way in it.
    """
    async with context.database.unit_of_work() as uow:
        await uow.lock(f"experiment/{request.id}")
        experiments = Experiments(uow.connection)
        await experiments.get(request.id)
        await require_no_attempt(uow, context.bearer, request.id)
        await experiments.update(request.id, lifecycle_stage=stage)
        await Runs(uow.connection).set_stage_of_experiment(request.id, stage)
    return {}


@asynccontextmanager
async def _writing(
    request: ExperimentById, context: MlflowContext
) -> AsyncGenerator[Experiments, None]:
    """The experiments, while nobody else writes to this one."""
    async with context.database.unit_of_work() as uow:
        await uow.lock(f"experiment/{request.id}")
        yield Experiments(uow.connection)


_AT = "/mlflow/experiments"
ENDPOINTS: Endpoints = (
    Endpoint("POST", f"{_AT}/create", CreateExperiment, create),
    Endpoint("GET", f"{_AT}/get", ExperimentById, get),
    Endpoint("GET", f"{_AT}/get-by-name", ExperimentByName, get_by_name),
    Endpoint("POST", f"{_AT}/update", UpdateExperiment, update),
    Endpoint("POST", f"{_AT}/delete", ExperimentById, delete),
    Endpoint("POST", f"{_AT}/restore", ExperimentById, restore),
    Endpoint("POST", f"{_AT}/set-experiment-tag", SetExperimentTag, set_tag),
    Endpoint("POST", f"{_AT}/delete-experiment-tag", DeleteExperimentTag, delete_tag),
    Endpoint("POST", f"{_AT}/search", SearchExperiments, search),
    Endpoint("GET", f"{_AT}/search", SearchExperiments, search),
)
