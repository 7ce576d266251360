"""The API for what MLflow has no word for: digests, seals, lineage, verification."""

from typing import Annotated

from fastapi import APIRouter, Query

from loopwright_common.database import Database
from loopwright_common.errors import ConflictError, CorruptError, NotFoundError
from loopwright_common.storage import ArtifactStore, parse_manifest
from loopwright_registry.api_router import api_router
from loopwright_registry.mlflow.paging import page_request
from loopwright_registry.models.domain import Seal
from loopwright_registry.models.repository import Models
from loopwright_registry.versions.references import find_version
from loopwright_registry.versions.repository import Versions
from loopwright_registry.versions.schemas import (
    ModelOut,
    ModelsOut,
    VerifiedOut,
    VersionOut,
    VersionsOut,
    version_out,
)


def create_router(database: Database, store: ArtifactStore) -> APIRouter:
    """Routes for models and versions, with what MLflow's API does not say of them."""
    router = api_router("models")
    _add_lists(router, database)
    _add_version(router, database, store)
    return router


def _add_lists(router: APIRouter, database: Database) -> None:
    @router.get("/models")
    async def list_models(
        after: Annotated[str | None, Query(max_length=256)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> ModelsOut:
        async with database.read() as connection:
            found = await Models(connection).search([], [], page_request(limit, after, 1000))
        items = [ModelOut.model_validate(model, from_attributes=True) for model in found.items]
        return ModelsOut(items=items, next=found.next_token)

    @router.get("/models/{model}/versions")
    async def list_versions(model: str) -> VersionsOut:
        """The versions of a model, newest first."""
        async with database.read() as connection:
            versions = Versions(connection)
            found = await Models(connection).get_by_name(model)
            items = [
                version_out(version, await versions.get_seal(version.model_id, version.version))
                for version in await versions.of_model(found.model_id)
            ]
        return VersionsOut(items=items, next=None)


def _add_version(router: APIRouter, database: Database, store: ArtifactStore) -> None:
    @router.get("/models/{model}/versions/{version}")
    async def get_version(model: str, version: str) -> VersionOut:
        """A version by number or `@alias`."""
        async with database.read() as connection:
            found = await find_version(connection, model, version)
            seal = await Versions(connection).get_seal(found.model_id, found.version)
        return version_out(found, seal)

    @router.get("/models/{model}/versions/{version}/verify")
    async def verify(model: str, version: str) -> VerifiedOut:
        """Read every file of the package and its datasets and compare their digests."""
        async with database.read() as connection:
            found = await find_version(connection, model, version)
            seal = await Versions(connection).get_seal(found.model_id, found.version)
        if seal is None:
            raise ConflictError(f"{model} version {found.version}: {found.status_message}")
        return await _verified(store, seal)


async def _verified(store: ArtifactStore, seal: Seal) -> VerifiedOut:
    try:
        files = parse_manifest(await store.get(seal.digest))
    except (CorruptError, NotFoundError) as error:
        return VerifiedOut(digest=seal.digest, files=0, verified=False, problems=[str(error)])
    checked = [(file.path, file.digest) for file in files]
    checked += [(dataset.role, dataset.digest) for dataset in seal.datasets]
    problems = [problem for item in checked if (problem := await _problem(store, *item))]
    return VerifiedOut(
        digest=seal.digest, files=len(files), verified=not problems, problems=problems
    )


async def _problem(store: ArtifactStore, name: str, digest: str) -> str | None:
    try:
        async for _ in store.stream(digest):
            pass
    except (CorruptError, NotFoundError) as error:
        return f"{name}: {error}"
    return None
