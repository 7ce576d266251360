"""MLflow's operations on model versions."""

from loopwright_registry.artifacts.domain import SCHEME
from loopwright_registry.mlflow.filters import models_only, parse_filter, parse_order
from loopwright_registry.mlflow.json import Answer, Call, Endpoint, Endpoints
from loopwright_registry.mlflow.paging import page_of
from loopwright_registry.models import schemas
from loopwright_registry.models.domain import ModelVersion, canonical_stage, check_registry_tag
from loopwright_registry.models.repository import Models
from loopwright_registry.versions import registration, sealing, service
from loopwright_registry.versions.repository import Versions
from loopwright_registry.versions.sources import resolve

_TRIES = 3


async def create(asked: schemas.CreateVersion, call: Call) -> Answer:
    """Read the files first, seal in one transaction; read again where they changed meanwhile."""
    new = asked.new_version()
    for key, value in new.tags.items():
        check_registry_tag(key, value)
    async with call.database.read() as connection:
        await Models(connection).named(new.name)
    for _ in range(_TRIES - 1):
        try:
            return await _registered(asked, call)
        except registration.FilesChangedError:
            continue
    return await _registered(asked, call)


async def _registered(asked: schemas.CreateVersion, call: Call) -> Answer:
    new = asked.new_version()
    draft = await sealing.draft(call.database, call.store, new)
    async with call.database.unit_of_work(call.cause) as uow:
        version = await registration.create_version(uow, call, new, draft)
    return {"model_version": schemas.written_version(version)}


async def get(asked: schemas.ByVersion, call: Call) -> Answer:
    async with call.database.read() as connection:
        version = await Versions(connection).get(asked.name, asked.number)
    return {"model_version": schemas.written_version(version)}


async def update(asked: schemas.UpdateVersion, call: Call) -> Answer:
    async with call.database.unit_of_work() as uow:
        await service.locked(uow, asked.name)
        versions = Versions(uow.connection)
        version = await versions.get(asked.name, asked.number)
        if asked.description is not None:
            await versions.change(version.model_id, version.version, description=asked.description)
        version = await versions.get(asked.name, asked.number)
    return {"model_version": schemas.written_version(version)}


async def delete(asked: schemas.ByVersion, call: Call) -> Answer:
    async with call.database.unit_of_work(call.cause) as uow:
        await service.delete_version(uow, asked.name, asked.number)
    return {}


async def transition(asked: schemas.TransitionStage, call: Call) -> Answer:
    stage = canonical_stage(asked.stage)
    async with call.database.unit_of_work() as uow:
        await service.locked(uow, asked.name)
        versions = Versions(uow.connection)
        version = await versions.get(asked.name, asked.number)
        if asked.archive_existing_versions:
            await _archive_others(versions, version, stage)
        await versions.change(version.model_id, version.version, stage=stage)
        version = await versions.get(asked.name, asked.number)
    return {"model_version": schemas.written_version(version)}


async def _archive_others(versions: Versions, version: ModelVersion, stage: str) -> None:
    for other in await versions.of_model(version.model_id):
        if other.stage == stage and other.version != version.version:
            await versions.change(other.model_id, other.version, stage="Archived")


async def set_tag(asked: schemas.SetVersionTag, call: Call) -> Answer:
    check_registry_tag(asked.key, asked.value)
    async with call.database.unit_of_work() as uow:
        await service.locked(uow, asked.name)
        versions = Versions(uow.connection)
        version = await versions.get(asked.name, asked.number)
        await versions.set_tags(version.model_id, version.version, {asked.key: asked.value})
    return {}


async def delete_tag(asked: schemas.DeleteVersionTag, call: Call) -> Answer:
    async with call.database.unit_of_work() as uow:
        await service.locked(uow, asked.name)
        versions = Versions(uow.connection)
        version = await versions.get(asked.name, asked.number)
        await versions.delete_tag(version.model_id, version.version, asked.key)
    return {}


async def search(asked: schemas.SearchVersions, call: Call) -> Answer:
    page = page_of(asked.max_results, asked.page_token, 200_000)
    conditions, orders = models_only(parse_filter(asked.filter)), parse_order(asked.order_by)
    async with call.database.read() as connection:
        found = await Versions(connection).search(conditions, orders, page)
    return {
        "model_versions": [schemas.written_version(version) for version in found.items],
        "next_page_token": found.next_token,
    }


async def download_uri(asked: schemas.ByVersion, call: Call) -> Answer:
    """Where the client finds the files: a sealed package under its digest."""
    async with call.database.read() as connection:
        version = await Versions(connection).get(asked.name, asked.number)
        root = await resolve(connection, f"models:/{version.name}/{version.version}")
    return {"artifact_uri": f"{SCHEME}/{root.path}" if root else version.source}


_AT = "/mlflow/model-versions"
ENDPOINTS: Endpoints = (
    Endpoint("POST", f"{_AT}/create", schemas.CreateVersion, create),
    Endpoint("GET", f"{_AT}/get", schemas.ByVersion, get),
    Endpoint("PATCH", f"{_AT}/update", schemas.UpdateVersion, update),
    Endpoint("DELETE", f"{_AT}/delete", schemas.ByVersion, delete),
    Endpoint("POST", f"{_AT}/transition-stage", schemas.TransitionStage, transition),
    Endpoint("POST", f"{_AT}/set-tag", schemas.SetVersionTag, set_tag),
    Endpoint("DELETE", f"{_AT}/delete-tag", schemas.DeleteVersionTag, delete_tag),
    Endpoint("GET", f"{_AT}/search", schemas.SearchVersions, search),
    Endpoint("GET", f"{_AT}/get-download-uri", schemas.ByVersion, download_uri),
)
