"""MLflow's operations on logged models."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pydantic import Field

from loopwright_registry.artifacts.domain import artifact_path
from loopwright_registry.experiments.domain import experiment_id_of
from loopwright_registry.experiments.repository import Experiments
from loopwright_registry.logged_models.domain import (
    LoggedModel,
    LoggedModelStatus,
    new_logged_model_id,
)
from loopwright_registry.logged_models.repository import LoggedModels
from loopwright_registry.mlflow.clock import now_ms
from loopwright_registry.mlflow.filters import OrderBy, parse_filter, parse_order
from loopwright_registry.mlflow.json import (
    Endpoint,
    Endpoints,
    KeyValue,
    MlflowContext,
    MlflowRequest,
    MlflowResponse,
    mapping_of,
    metric_json,
    pairs_json,
)
from loopwright_registry.mlflow.paging import page_request
from loopwright_registry.mlflow_api.artifacts import entries_under
from loopwright_registry.runs.run_fencing import require_attempt


class CreateLoggedModel(MlflowRequest):
    experiment_id: str
    name: str | None = Field(default=None, max_length=500)
    model_type: str = Field(default="", max_length=500)
    source_run_id: str | None = Field(default=None, max_length=256)
    params: list[KeyValue] = Field(default=[])
    tags: list[KeyValue] = Field(default=[])


class LoggedModelById(MlflowRequest):
    model_id: str


class FinalizeLoggedModel(LoggedModelById):
    status: LoggedModelStatus


class SetLoggedModelTags(LoggedModelById):
    tags: list[KeyValue] = Field(default=[])


class DeleteLoggedModelTag(LoggedModelById):
    tag_key: str


class LogLoggedModelParams(LoggedModelById):
    params: list[KeyValue] = Field(default=[])


class ListLoggedModelArtifacts(LoggedModelById):
    artifact_directory_path: str = ""


class SearchOrder(MlflowRequest):
    field_name: str
    ascending: bool = True

    def order(self) -> OrderBy:
        [order] = parse_order([self.field_name])
        return OrderBy(order.kind, order.key, self.ascending)


class SearchLoggedModels(MlflowRequest):
    experiment_ids: list[str] = Field(default=[], max_length=10_000)
    filter: str | None = None
    max_results: int = 50
    order_by: list[SearchOrder] = Field(default=[])
    page_token: str | None = None


def logged_model_json(logged: LoggedModel) -> MlflowResponse:
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
        "tags": pairs_json(logged.tags),
    }
    data = {
        "params": pairs_json(logged.params),
        "metrics": [metric_json(metric) for metric in logged.metrics],
    }
    return {"info": info, "data": data}


async def create(request: CreateLoggedModel, context: MlflowContext) -> MlflowResponse:
    model_id, at = new_logged_model_id(), now_ms()
    async with context.database.unit_of_work() as uow:
        await uow.lock(f"experiment/{experiment_id_of(request.experiment_id)}")
        if request.source_run_id:
            await require_attempt(uow, context.bearer, request.source_run_id)
        experiment = await Experiments(uow.connection).get(experiment_id_of(request.experiment_id))
        experiment.require_active()
        logged = LoggedModel(
            model_id=model_id,
            experiment_id=experiment.experiment_id,
            name=request.name or f"model-{model_id[2:10]}",
            artifact_uri=f"{experiment.artifact_location}/models/{model_id}/artifacts",
            status="LOGGED_MODEL_PENDING",
            model_type=request.model_type,
            source_run_id=request.source_run_id,
            created_ms=at,
            updated_ms=at,
            tags=mapping_of(request.tags),
            params=mapping_of(request.params),
        )
        await LoggedModels(uow.connection).insert(logged)
    return {"model": logged_model_json(logged)}


async def get(request: LoggedModelById, context: MlflowContext) -> MlflowResponse:
    async with context.database.read() as connection:
        return {"model": logged_model_json(await LoggedModels(connection).get(request.model_id))}


async def finalize(request: FinalizeLoggedModel, context: MlflowContext) -> MlflowResponse:
    async with _writing(request, context) as logged:
        await logged.set_status(request.model_id, request.status)
        return {"model": logged_model_json(await logged.get(request.model_id))}


async def set_tags(request: SetLoggedModelTags, context: MlflowContext) -> MlflowResponse:
    async with _writing(request, context) as logged:
        await logged.set_tags(request.model_id, mapping_of(request.tags))
    return {}


async def delete_tag(request: DeleteLoggedModelTag, context: MlflowContext) -> MlflowResponse:
    async with _writing(request, context) as logged:
        await logged.delete_tag(request.model_id, request.tag_key)
    return {}


async def log_params(request: LogLoggedModelParams, context: MlflowContext) -> MlflowResponse:
    async with _writing(request, context) as logged:
        await logged.set_params(request.model_id, mapping_of(request.params))
    return {}


async def delete(request: LoggedModelById, context: MlflowContext) -> MlflowResponse:
    async with _writing(request, context) as logged:
        await logged.delete(request.model_id)
    return {}


async def search(request: SearchLoggedModels, context: MlflowContext) -> MlflowResponse:
    page = page_request(request.max_results, request.page_token, 1000)
    conditions = parse_filter(request.filter)
    orders = [order.order() for order in request.order_by]
    experiments = [experiment_id_of(text) for text in request.experiment_ids]
    async with context.database.read() as connection:
        found = await LoggedModels(connection).search(experiments, conditions, orders, page)
    return {
        "models": [logged_model_json(item) for item in found.items],
        "next_page_token": found.next_token,
    }


async def list_directory(
    request: ListLoggedModelArtifacts, context: MlflowContext
) -> MlflowResponse:
    async with context.database.read() as connection:
        logged = await LoggedModels(connection).get(request.model_id)
    below = request.artifact_directory_path.strip("/")
    root = artifact_path(logged.artifact_uri)
    at = f"{root}/{below}" if below else root
    files = await entries_under(at, context, prefix=f"{below}/" if below else "")
    return {"root_uri": logged.artifact_uri, "files": files}


@asynccontextmanager
async def _writing(
    request: LoggedModelById, context: MlflowContext
) -> AsyncGenerator[LoggedModels, None]:
    """The logged models, while nobody else writes to the one's run; NotFoundError without it."""
    async with context.database.unit_of_work() as uow:
        logged = LoggedModels(uow.connection)
        if run_id := (await logged.get(request.model_id)).source_run_id:
            await require_attempt(uow, context.bearer, run_id)
        yield logged


_AT = "/mlflow/logged-models"
_ONE = f"{_AT}/{{model_id}}"
ENDPOINTS: Endpoints = (
    Endpoint("POST", _AT, CreateLoggedModel, create),
    Endpoint("POST", f"{_AT}/search", SearchLoggedModels, search),
    Endpoint("GET", _ONE, LoggedModelById, get),
    Endpoint("PATCH", _ONE, FinalizeLoggedModel, finalize),
    Endpoint("DELETE", _ONE, LoggedModelById, delete),
    Endpoint("PATCH", f"{_ONE}/tags", SetLoggedModelTags, set_tags),
    Endpoint("DELETE", f"{_ONE}/tags/{{tag_key}}", DeleteLoggedModelTag, delete_tag),
    Endpoint("POST", f"{_ONE}/params", LogLoggedModelParams, log_params),
    Endpoint("GET", f"{_ONE}/artifacts/directories", ListLoggedModelArtifacts, list_directory),
)
