"""MLflow's operations on registered models and aliases."""

from loopwright_common.errors import InvalidError
from loopwright_registry.mlflow.endpoint import Endpoint, Endpoints, MlflowContext
from loopwright_registry.mlflow.filters import models_only, parse_filter, parse_order
from loopwright_registry.mlflow.json import MlflowResponse, mapping_of
from loopwright_registry.mlflow.paging import page_request
from loopwright_registry.mlflow_api import model_schemas
from loopwright_registry.models.domain import (
    RegisteredModel,
    canonical_stage,
    check_alias,
    check_model_name,
    check_registry_tag,
)
from loopwright_registry.models.repository import Models
from loopwright_registry.versions import service
from loopwright_registry.versions.repository import Versions


async def create(
    request: model_schemas.CreateRegisteredModel, context: MlflowContext
) -> MlflowResponse:
    check_model_name(request.name)
    tags = mapping_of(request.tags)
    for key, value in tags.items():
        check_registry_tag(key, value)
    async with context.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await models.create(request.name, request.description)
        await models.set_tags(model.model_id, tags)
        model = await models.get_by_name(request.name)
    return {"registered_model": model_schemas.model_json(model, [])}


async def get(
    request: model_schemas.RegisteredModelByName, context: MlflowContext
) -> MlflowResponse:
    async with context.database.read() as connection:
        model = await Models(connection).get_by_name(request.name)
        latest = await Versions(connection).latest([model.model_id])
    return {"registered_model": model_schemas.model_json(model, latest.get(model.model_id, []))}


async def update(
    request: model_schemas.UpdateRegisteredModel, context: MlflowContext
) -> MlflowResponse:
    async with context.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await service.lock_model(uow, request.name)
        await models.update(model.model_id, description=request.description)
        model = await models.get_by_name(request.name)
    return {"registered_model": model_schemas.model_json(model, [])}


async def rename(
    request: model_schemas.RenameRegisteredModel, context: MlflowContext
) -> MlflowResponse:
    check_model_name(request.new_name)
    async with context.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await service.lock_model(uow, request.name)
        await service.require_undeployed(uow, model, "renamed")
        await models.update(model.model_id, name=request.new_name)
        model = await models.get_by_name(request.new_name)
    return {"registered_model": model_schemas.model_json(model, [])}


async def delete(
    request: model_schemas.RegisteredModelByName, context: MlflowContext
) -> MlflowResponse:
    async with context.database.unit_of_work() as uow:
        await service.delete_model(uow, request.name)
    return {}


async def search(
    request: model_schemas.SearchRegisteredModels, context: MlflowContext
) -> MlflowResponse:
    page = page_request(request.max_results, request.page_token, 1000)
    conditions, orders = models_only(parse_filter(request.filter)), parse_order(request.order_by)
    async with context.database.read() as connection:
        found = await Models(connection).search(conditions, orders, page)
        latest = await Versions(connection).latest([model.model_id for model in found.items])
    return {
        "registered_models": [
            model_schemas.model_json(model, latest.get(model.model_id, [])) for model in found.items
        ],
        "next_page_token": found.next_token,
    }


async def latest_versions(
    request: model_schemas.GetLatestVersions, context: MlflowContext
) -> MlflowResponse:
    """The newest versions of the stages; without stages, the newest version of every stage."""
    stages = {canonical_stage(stage) for stage in request.stages}
    async with context.database.read() as connection:
        model = await Models(connection).get_by_name(request.name)
        latest = await Versions(connection).latest([model.model_id])
    return {
        "model_versions": [
            model_schemas.version_json(version)
            for version in latest.get(model.model_id, [])
            if not stages or version.stage in stages
        ]
    }


async def set_tag(
    request: model_schemas.SetRegisteredModelTag, context: MlflowContext
) -> MlflowResponse:
    check_registry_tag(request.key, request.value)
    async with context.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await service.lock_model(uow, request.name)
        await models.set_tags(model.model_id, {request.key: request.value})
    return {}


async def delete_tag(
    request: model_schemas.DeleteRegisteredModelTag, context: MlflowContext
) -> MlflowResponse:
    async with context.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await service.lock_model(uow, request.name)
        await models.delete_tag(model.model_id, request.key)
    return {}


async def set_alias(request: model_schemas.SetModelAlias, context: MlflowContext) -> MlflowResponse:
    check_alias(request.alias)
    async with context.database.unit_of_work(context.cause) as uow:
        model = await service.lock_model(uow, request.name)
        await Versions(uow.connection).get(request.name, request.number)
        await service.request_alias(uow, model, request.alias, request.number)
    return {}


async def delete_alias(
    request: model_schemas.ModelVersionByAlias, context: MlflowContext
) -> MlflowResponse:
    async with context.database.unit_of_work(context.cause) as uow:
        model = await service.lock_model(uow, request.name)
        await service.request_alias(uow, model, request.alias, None)
    return {}


async def get_by_alias(
    request: model_schemas.ModelVersionByAlias, context: MlflowContext
) -> MlflowResponse:
    async with context.database.read() as connection:
        model = await Models(connection).get_by_name(request.name)
        number = _aliased(model, request.alias)
        version = await Versions(connection).get(request.name, number)
    return {"model_version": model_schemas.version_json(version)}


def _aliased(model: RegisteredModel, alias: str) -> int:
    """The version of the alias.

    MLflow's clients rely on 400, not 404, for an unknown alias of a model that exists.
    """
    if alias not in model.aliases:
        raise InvalidError(f"Registered model alias {alias} not found.")
    return model.aliases[alias]


_AT = "/mlflow/registered-models"
ENDPOINTS: Endpoints = (
    Endpoint("POST", f"{_AT}/create", model_schemas.CreateRegisteredModel, create),
    Endpoint("GET", f"{_AT}/get", model_schemas.RegisteredModelByName, get),
    Endpoint("PATCH", f"{_AT}/update", model_schemas.UpdateRegisteredModel, update),
    Endpoint("POST", f"{_AT}/rename", model_schemas.RenameRegisteredModel, rename),
    Endpoint("DELETE", f"{_AT}/delete", model_schemas.RegisteredModelByName, delete),
    Endpoint("GET", f"{_AT}/search", model_schemas.SearchRegisteredModels, search),
    Endpoint(
        "POST", f"{_AT}/get-latest-versions", model_schemas.GetLatestVersions, latest_versions
    ),
    Endpoint("GET", f"{_AT}/get-latest-versions", model_schemas.GetLatestVersions, latest_versions),
    Endpoint("POST", f"{_AT}/set-tag", model_schemas.SetRegisteredModelTag, set_tag),
    Endpoint("DELETE", f"{_AT}/delete-tag", model_schemas.DeleteRegisteredModelTag, delete_tag),
    Endpoint("POST", f"{_AT}/alias", model_schemas.SetModelAlias, set_alias),
    Endpoint("DELETE", f"{_AT}/alias", model_schemas.ModelVersionByAlias, delete_alias),
    Endpoint("GET", f"{_AT}/alias", model_schemas.ModelVersionByAlias, get_by_alias),
)
