"""MLflow's operations on model versions."""

from loopwright_common.database import UnitOfWork
from loopwright_registry.artifacts.domain import SCHEME
from loopwright_registry.mlflow.endpoint import Endpoint, Endpoints, MlflowContext
from loopwright_registry.mlflow.filters import models_only, parse_filter, parse_order
from loopwright_registry.mlflow.json import MlflowResponse
from loopwright_registry.mlflow.paging import page_request
from loopwright_registry.mlflow_api import model_schemas
from loopwright_registry.models.domain import ModelVersion, canonical_stage, check_registry_tag
from loopwright_registry.models.repository import Models
from loopwright_registry.versions import registration, sealing, service
from loopwright_registry.versions.repository import Versions
from loopwright_registry.versions.sources import resolve_source

_TRIES = 3


async def create(
    request: model_schemas.CreateModelVersion, context: MlflowContext
) -> MlflowResponse:
    """Read the files first, seal in one transaction; read again where they changed meanwhile."""
    new = request.new_version()
    for key, value in new.tags.items():
        check_registry_tag(key, value)
    async with context.database.read() as connection:
        await Models(connection).get_by_name(new.name)
    for _ in range(_TRIES - 1):
        try:
            return await _registered(request, context)
        except registration.FilesChangedError:
            continue
    return await _registered(request, context)


async def _registered(
    request: model_schemas.CreateModelVersion, context: MlflowContext
) -> MlflowResponse:
    new = request.new_version()
    draft = await sealing.read_draft(context.database, context.store, new)
    async with context.database.unit_of_work(context.cause) as uow:
        version = await registration.create_version(uow, context, new, draft)
    return {"model_version": model_schemas.version_json(version)}


async def get(
    request: model_schemas.ModelVersionByNumber, context: MlflowContext
) -> MlflowResponse:
    async with context.database.read() as connection:
        version = await Versions(connection).get(request.name, request.number)
    return {"model_version": model_schemas.version_json(version)}


async def update(
    request: model_schemas.UpdateModelVersion, context: MlflowContext
) -> MlflowResponse:
    async with context.database.unit_of_work() as uow:
        await service.lock_model(uow, request.name)
        versions = Versions(uow.connection)
        version = await versions.get(request.name, request.number)
        if request.description is not None:
            await versions.update(
                version.model_id, version.version, description=request.description
            )
        version = await versions.get(request.name, request.number)
    return {"model_version": model_schemas.version_json(version)}


async def delete(
    request: model_schemas.ModelVersionByNumber, context: MlflowContext
) -> MlflowResponse:
    async with context.database.unit_of_work(context.cause) as uow:
        await service.delete_version(uow, request.name, request.number)
    return {}


async def transition(
    request: model_schemas.TransitionModelVersionStage, context: MlflowContext
) -> MlflowResponse:
    stage = canonical_stage(request.stage)
    async with context.database.unit_of_work() as uow:
        await service.lock_model(uow, request.name)
        versions = Versions(uow.connection)
        version = await versions.get(request.name, request.number)
        if stage == "Archived":
            await service.require_unloaded(uow, version, "archived")
        if request.archive_existing_versions:
            await _archive_others(uow, version, stage)
        await versions.update(version.model_id, version.version, stage=stage)
        version = await versions.get(request.name, request.number)
    return {"model_version": model_schemas.version_json(version)}


async def _archive_others(uow: UnitOfWork, version: ModelVersion, stage: str) -> None:
    versions = Versions(uow.connection)
    for other in await versions.of_model(version.model_id):
        if other.stage == stage and other.version != version.version:
            await service.require_unloaded(uow, other, "archived")
            await versions.update(other.model_id, other.version, stage="Archived")


async def set_tag(
    request: model_schemas.SetModelVersionTag, context: MlflowContext
) -> MlflowResponse:
    check_registry_tag(request.key, request.value)
    async with context.database.unit_of_work() as uow:
        await service.lock_model(uow, request.name)
        versions = Versions(uow.connection)
        version = await versions.get(request.name, request.number)
        await versions.set_tags(version.model_id, version.version, {request.key: request.value})
    return {}


async def delete_tag(
    request: model_schemas.DeleteModelVersionTag, context: MlflowContext
) -> MlflowResponse:
    async with context.database.unit_of_work() as uow:
        await service.lock_model(uow, request.name)
        versions = Versions(uow.connection)
        version = await versions.get(request.name, request.number)
        await versions.delete_tag(version.model_id, version.version, request.key)
    return {}


async def search(
    request: model_schemas.SearchModelVersions, context: MlflowContext
) -> MlflowResponse:
    page = page_request(request.max_results, request.page_token, 200_000)
    conditions, orders = models_only(parse_filter(request.filter)), parse_order(request.order_by)
    async with context.database.read() as connection:
        found = await Versions(connection).search(conditions, orders, page)
    return {
        "model_versions": [model_schemas.version_json(version) for version in found.items],
        "next_page_token": found.next_token,
    }


async def download_uri(
    request: model_schemas.ModelVersionByNumber, context: MlflowContext
) -> MlflowResponse:
    """Where the client finds the files: a sealed package under its digest."""
    async with context.database.read() as connection:
        version = await Versions(connection).get(request.name, request.number)
        root = await resolve_source(connection, f"models:/{version.name}/{version.version}")
    return {"artifact_uri": f"{SCHEME}/{root.path}"}


_AT = "/mlflow/model-versions"
ENDPOINTS: Endpoints = (
    Endpoint("POST", f"{_AT}/create", model_schemas.CreateModelVersion, create),
    Endpoint("GET", f"{_AT}/get", model_schemas.ModelVersionByNumber, get),
    Endpoint("PATCH", f"{_AT}/update", model_schemas.UpdateModelVersion, update),
    Endpoint("DELETE", f"{_AT}/delete", model_schemas.ModelVersionByNumber, delete),
    Endpoint(
        "POST", f"{_AT}/transition-stage", model_schemas.TransitionModelVersionStage, transition
    ),
    Endpoint("POST", f"{_AT}/set-tag", model_schemas.SetModelVersionTag, set_tag),
    Endpoint("DELETE", f"{_AT}/delete-tag", model_schemas.DeleteModelVersionTag, delete_tag),
    Endpoint("GET", f"{_AT}/search", model_schemas.SearchModelVersions, search),
    Endpoint("GET", f"{_AT}/get-download-uri", model_schemas.ModelVersionByNumber, download_uri),
)
