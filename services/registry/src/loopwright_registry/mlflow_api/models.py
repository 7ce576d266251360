"""MLflow's operations on registered models and aliases."""

from loopwright_common.errors import InvalidError
from loopwright_registry.mlflow.filters import models_only, parse_filter, parse_order
from loopwright_registry.mlflow.json import Answer, Call, Endpoint, Endpoints, mapping
from loopwright_registry.mlflow.paging import page_of
from loopwright_registry.models import schemas
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


async def create(asked: schemas.CreateModel, call: Call) -> Answer:
    check_model_name(asked.name)
    tags = mapping(asked.tags)
    for key, value in tags.items():
        check_registry_tag(key, value)
    async with call.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await models.add(asked.name, asked.description)
        await models.set_tags(model.model_id, tags)
        model = await models.named(asked.name)
    return {"registered_model": schemas.written_model(model, [])}


async def get(asked: schemas.ByName, call: Call) -> Answer:
    async with call.database.read() as connection:
        model = await Models(connection).named(asked.name)
        latest = await Versions(connection).latest([model.model_id])
    return {"registered_model": schemas.written_model(model, latest.get(model.model_id, []))}


async def update(asked: schemas.UpdateModel, call: Call) -> Answer:
    async with call.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await service.locked(uow, asked.name)
        await models.change(model.model_id, description=asked.description)
        model = await models.named(asked.name)
    return {"registered_model": schemas.written_model(model, [])}


async def rename(asked: schemas.RenameModel, call: Call) -> Answer:
    check_model_name(asked.new_name)
    async with call.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await service.locked(uow, asked.name)
        await service.require_undeployed(uow, model, "renamed")
        await models.change(model.model_id, name=asked.new_name)
        model = await models.named(asked.new_name)
    return {"registered_model": schemas.written_model(model, [])}


async def delete(asked: schemas.ByName, call: Call) -> Answer:
    async with call.database.unit_of_work() as uow:
        await service.delete_model(uow, asked.name)
    return {}


async def search(asked: schemas.Search, call: Call) -> Answer:
    page = page_of(asked.max_results, asked.page_token, 1000)
    conditions, orders = models_only(parse_filter(asked.filter)), parse_order(asked.order_by)
    async with call.database.read() as connection:
        found = await Models(connection).search(conditions, orders, page)
        latest = await Versions(connection).latest([model.model_id for model in found.items])
    return {
        "registered_models": [
            schemas.written_model(model, latest.get(model.model_id, [])) for model in found.items
        ],
        "next_page_token": found.next_token,
    }


async def latest_versions(asked: schemas.LatestVersions, call: Call) -> Answer:
    """Without stages, the newest version of every stage."""
    stages = {canonical_stage(stage) for stage in asked.stages}
    async with call.database.read() as connection:
        model = await Models(connection).named(asked.name)
        latest = await Versions(connection).latest([model.model_id])
    return {
        "model_versions": [
            schemas.written_version(version)
            for version in latest.get(model.model_id, [])
            if not stages or version.stage in stages
        ]
    }


async def set_tag(asked: schemas.SetTag, call: Call) -> Answer:
    check_registry_tag(asked.key, asked.value)
    async with call.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await service.locked(uow, asked.name)
        await models.set_tags(model.model_id, {asked.key: asked.value})
    return {}


async def delete_tag(asked: schemas.DeleteTag, call: Call) -> Answer:
    async with call.database.unit_of_work() as uow:
        models = Models(uow.connection)
        model = await service.locked(uow, asked.name)
        await models.delete_tag(model.model_id, asked.key)
    return {}


async def set_alias(asked: schemas.SetAlias, call: Call) -> Answer:
    check_alias(asked.alias)
    async with call.database.unit_of_work(call.cause) as uow:
        model = await service.locked(uow, asked.name)
        await Versions(uow.connection).get(asked.name, asked.number)
        await service.set_alias(uow, model, asked.alias, asked.number, service.CLIENT)
    return {}


async def delete_alias(asked: schemas.ByAlias, call: Call) -> Answer:
    async with call.database.unit_of_work(call.cause) as uow:
        model = await service.locked(uow, asked.name)
        await service.set_alias(uow, model, asked.alias, None, service.CLIENT)
    return {}


async def get_by_alias(asked: schemas.ByAlias, call: Call) -> Answer:
    async with call.database.read() as connection:
        model = await Models(connection).named(asked.name)
        number = _aliased(model, asked.alias)
        version = await Versions(connection).get(asked.name, number)
    return {"model_version": schemas.written_version(version)}


def _aliased(model: RegisteredModel, alias: str) -> int:
    """MLflow's clients rely on 400, not 404, for an unknown alias of a model that exists."""
    if alias not in model.aliases:
        raise InvalidError(f"Registered model alias {alias} not found.")
    return model.aliases[alias]


_AT = "/mlflow/registered-models"
ENDPOINTS: Endpoints = (
    Endpoint("POST", f"{_AT}/create", schemas.CreateModel, create),
    Endpoint("GET", f"{_AT}/get", schemas.ByName, get),
    Endpoint("PATCH", f"{_AT}/update", schemas.UpdateModel, update),
    Endpoint("POST", f"{_AT}/rename", schemas.RenameModel, rename),
    Endpoint("DELETE", f"{_AT}/delete", schemas.ByName, delete),
    Endpoint("GET", f"{_AT}/search", schemas.Search, search),
    Endpoint("POST", f"{_AT}/get-latest-versions", schemas.LatestVersions, latest_versions),
    Endpoint("GET", f"{_AT}/get-latest-versions", schemas.LatestVersions, latest_versions),
    Endpoint("POST", f"{_AT}/set-tag", schemas.SetTag, set_tag),
    Endpoint("DELETE", f"{_AT}/delete-tag", schemas.DeleteTag, delete_tag),
    Endpoint("POST", f"{_AT}/alias", schemas.SetAlias, set_alias),
    Endpoint("DELETE", f"{_AT}/alias", schemas.ByAlias, delete_alias),
    Endpoint("GET", f"{_AT}/alias", schemas.ByAlias, get_by_alias),
)
