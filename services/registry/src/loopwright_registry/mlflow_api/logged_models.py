"""MLflow's operations on logged models."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from loopwright_registry.artifacts.domain import artifact_path
from loopwright_registry.experiments.domain import experiment_id_of
from loopwright_registry.experiments.repository import Experiments
from loopwright_registry.logged_models.domain import (
    LoggedModel,
    new_logged_model_id,
)
from loopwright_registry.logged_models.repository import LoggedModels
from loopwright_registry.mlflow.clock import now_ms
from loopwright_registry.mlflow.endpoint import Endpoint, Endpoints, MlflowContext
from loopwright_registry.mlflow.filters import parse_filter
from loopwright_registry.mlflow.json import MlflowResponse, mapping_of
from loopwright_registry.mlflow.paging import page_request
from loopwright_registry.mlflow_api.artifacts import entries_under
from loopwright_registry.mlflow_api.logged_model_schemas import (
    CreateLoggedModel,
    DeleteLoggedModelTag,
    FinalizeLoggedModel,
    ListLoggedModelArtifacts,
    LoggedModelById,
    LogLoggedModelParams,
    SearchLoggedModels,
    SetLoggedModelTags,
    logged_model_json,
)
from loopwright_registry.runs.run_fencing import require_attempt


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
