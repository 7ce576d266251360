"""MLflow's operations on logged models."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pydantic import Field

from loopwright_registry.artifacts.domain import artifact_path
from loopwright_registry.experiments.domain import experiment_id_of
from loopwright_registry.experiments.repository import Experiments
from loopwright_registry.logged_models.domain import LoggedModel, Status, new_logged_id
from loopwright_registry.logged_models.repository import LoggedModels
from loopwright_registry.mlflow.clock import now_ms
from loopwright_registry.mlflow.filters import Order, parse_filter, parse_order
from loopwright_registry.mlflow.json import (
    Answer,
    Asked,
    Call,
    Endpoint,
    Endpoints,
    Pair,
    mapping,
    pairs,
    written_metric,
)
from loopwright_registry.mlflow.paging import page_of
from loopwright_registry.mlflow_api.artifacts import entries_under
from loopwright_registry.runs.run_fencing import require_attempt


class CreateLogged(Asked):
    experiment_id: str
    name: str | None = Field(default=None, max_length=500)
    model_type: str = Field(default="", max_length=500)
    source_run_id: str | None = Field(default=None, max_length=256)
    params: list[Pair] = Field(default=[])
    tags: list[Pair] = Field(default=[])


class ByModelId(Asked):
    model_id: str


class Finalize(ByModelId):
    status: Status


class SetLoggedTags(ByModelId):
    tags: list[Pair] = Field(default=[])


class DeleteLoggedTag(ByModelId):
    tag_key: str


class LogParams(ByModelId):
    params: list[Pair] = Field(default=[])


class ListDirectory(ByModelId):
    artifact_directory_path: str = ""


class OrderBy(Asked):
    field_name: str
    ascending: bool = True

    def order(self) -> Order:
        [order] = parse_order([self.field_name])
        return Order(order.kind, order.key, self.ascending)


class SearchLogged(Asked):
    experiment_ids: list[str] = Field(default=[], max_length=10_000)
    filter: str | None = None
    max_results: int = 50
    order_by: list[OrderBy] = Field(default=[])
    page_token: str | None = None


def written(logged: LoggedModel) -> Answer:
    info = {
        "model_id": logged.model_id,
        "experiment_id": str(logged.experiment_id),
        "name": logged.name,
        "creation_timestamp_ms": logged.created_ms,
        "last_updated_timestamp_ms": logged.updated_ms,
        "artifact_uri": logged.artifact_uri,
        "status": logged.status,
        "model_type": logged.model_type,
        "source_run_id": logged.source_run_id,
        "tags": pairs(logged.tags),
    }
    data = {
        "params": pairs(logged.params),
        "metrics": [written_metric(metric) for metric in logged.metrics],
    }
    return {"info": info, "data": data}


async def create(asked: CreateLogged, call: Call) -> Answer:
    model_id, moment = new_logged_id(), now_ms()
    async with call.database.unit_of_work() as uow:
        await uow.lock(f"experiment/{experiment_id_of(asked.experiment_id)}")
        if asked.source_run_id:
            await require_attempt(uow, call.bearer, asked.source_run_id)
        experiment = await Experiments(uow.connection).get(experiment_id_of(asked.experiment_id))
        experiment.require_active()
        logged = LoggedModel(
            model_id=model_id,
            experiment_id=experiment.experiment_id,
            name=asked.name or f"model-{model_id[2:10]}",
            artifact_uri=f"{experiment.artifact_location}/models/{model_id}/artifacts",
            status="LOGGED_MODEL_PENDING",
            model_type=asked.model_type,
            source_run_id=asked.source_run_id,
            created_ms=moment,
            updated_ms=moment,
            tags=mapping(asked.tags),
            params=mapping(asked.params),
        )
        await LoggedModels(uow.connection).add(logged)
    return {"model": written(logged)}


async def get(asked: ByModelId, call: Call) -> Answer:
    async with call.database.read() as connection:
        return {"model": written(await LoggedModels(connection).get(asked.model_id))}


async def finalize(asked: Finalize, call: Call) -> Answer:
    async with _writing(asked, call) as logged:
        await logged.set_status(asked.model_id, asked.status)
        return {"model": written(await logged.get(asked.model_id))}


async def set_tags(asked: SetLoggedTags, call: Call) -> Answer:
    async with _writing(asked, call) as logged:
        await logged.set_tags(asked.model_id, mapping(asked.tags))
    return {}


async def delete_tag(asked: DeleteLoggedTag, call: Call) -> Answer:
    async with _writing(asked, call) as logged:
        await logged.delete_tag(asked.model_id, asked.tag_key)
    return {}


async def log_params(asked: LogParams, call: Call) -> Answer:
    async with _writing(asked, call) as logged:
        await logged.set_params(asked.model_id, mapping(asked.params))
    return {}


async def delete(asked: ByModelId, call: Call) -> Answer:
    async with _writing(asked, call) as logged:
        await logged.delete(asked.model_id)
    return {}


async def search(asked: SearchLogged, call: Call) -> Answer:
    page = page_of(asked.max_results, asked.page_token, 1000)
    conditions = parse_filter(asked.filter)
    orders = [order.order() for order in asked.order_by]
    experiments = [experiment_id_of(text) for text in asked.experiment_ids]
    async with call.database.read() as connection:
        found = await LoggedModels(connection).search(experiments, conditions, orders, page)
    return {
        "models": [written(item) for item in found.items],
        "next_page_token": found.next_token,
    }


async def list_directory(asked: ListDirectory, call: Call) -> Answer:
    async with call.database.read() as connection:
        logged = await LoggedModels(connection).get(asked.model_id)
    below = asked.artifact_directory_path.strip("/")
    root = artifact_path(logged.artifact_uri)
    at = f"{root}/{below}" if below else root
    files = await entries_under(at, call, prefix=f"{below}/" if below else "")
    return {"root_uri": logged.artifact_uri, "files": files}


@asynccontextmanager
async def _writing(asked: ByModelId, call: Call) -> AsyncGenerator[LoggedModels, None]:
    """The logged models, while nobody else writes to the one's run; NotFoundError without it."""
    async with call.database.unit_of_work() as uow:
        logged = LoggedModels(uow.connection)
        if run_id := (await logged.get(asked.model_id)).source_run_id:
            await require_attempt(uow, call.bearer, run_id)
        yield logged


_AT = "/mlflow/logged-models"
_ONE = f"{_AT}/{{model_id}}"
ENDPOINTS: Endpoints = (
    Endpoint("POST", _AT, CreateLogged, create),
    Endpoint("POST", f"{_AT}/search", SearchLogged, search),
    Endpoint("GET", _ONE, ByModelId, get),
    Endpoint("PATCH", _ONE, Finalize, finalize),
    Endpoint("DELETE", _ONE, ByModelId, delete),
    Endpoint("PATCH", f"{_ONE}/tags", SetLoggedTags, set_tags),
    Endpoint("DELETE", f"{_ONE}/tags/{{tag_key}}", DeleteLoggedTag, delete_tag),
    Endpoint("POST", f"{_ONE}/params", LogParams, log_params),
    Endpoint("GET", f"{_ONE}/artifacts/directories", ListDirectory, list_directory),
)
