"""What MLflow has no word for: digests, seals, lineage, verification."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from loopwright_common.database import Database
from loopwright_common.errors import ConflictError, CorruptError, NotFoundError
from loopwright_common.storage import ArtifactStore, parse_manifest
from loopwright_common.web.app import PROBLEMS
from loopwright_registry.mlflow.paging import page_of
from loopwright_registry.models.domain import ModelVersion, Seal
from loopwright_registry.models.repository import Models
from loopwright_registry.versions.references import version_of
from loopwright_registry.versions.repository import Versions


class ModelOut(BaseModel):
    model_id: str
    name: str
    description: str | None
    tags: dict[str, str]
    aliases: dict[str, int]


class ModelsOut(BaseModel):
    items: list[ModelOut]
    next: str | None


class VersionOut(BaseModel):
    """`seal` is None, and `status_message` says why, when the files are not in our store."""

    model_id: str
    model: str
    version: int
    sealed: bool
    held: bool
    status_message: str | None
    digest: str | None
    format: str | None
    signature: dict[str, Any] | None
    metrics: dict[str, float]
    datasets: list[dict[str, Any]]
    run_id: str | None
    tracking_run_id: str | None
    commit: str | None
    pipeline: str | None
    aliases: list[str]
    tags: dict[str, str]
    created_ms: int


class VersionsOut(BaseModel):
    items: list[VersionOut]
    next: str | None


class VerifiedOut(BaseModel):
    digest: str
    files: int
    verified: bool
    problems: list[str]


def router(database: Database, store: ArtifactStore) -> APIRouter:
    routes = APIRouter(prefix="/v1/models", tags=["models"], responses=PROBLEMS)
    _add_lists(routes, database)
    _add_version(routes, database, store)
    return routes


def _add_lists(routes: APIRouter, database: Database) -> None:
    @routes.get("")
    async def list_models(
        after: Annotated[str | None, Query(max_length=256)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> ModelsOut:
        async with database.read() as connection:
            found = await Models(connection).search([], [], page_of(limit, after, 1000))
        items = [ModelOut.model_validate(model, from_attributes=True) for model in found.items]
        return ModelsOut(items=items, next=found.next_token)

    @routes.get("/{model}/versions")
    async def list_versions(model: str) -> VersionsOut:
        """Newest first."""
        async with database.read() as connection:
            versions = Versions(connection)
            found = await Models(connection).named(model)
            items = [
                _written(version, await versions.sealed(version.model_id, version.version))
                for version in await versions.of_model(found.model_id)
            ]
        return VersionsOut(items=items, next=None)


def _add_version(routes: APIRouter, database: Database, store: ArtifactStore) -> None:
    @routes.get("/{model}/versions/{version}")
    async def get_version(model: str, version: str) -> VersionOut:
        """A version by number or `@alias`."""
        async with database.read() as connection:
            found = await version_of(connection, model, version)
            seal = await Versions(connection).sealed(found.model_id, found.version)
        return _written(found, seal)

    @routes.get("/{model}/versions/{version}/verify")
    async def verify(model: str, version: str) -> VerifiedOut:
        """Read every file of the package and its datasets and compare their digests."""
        async with database.read() as connection:
            found = await version_of(connection, model, version)
            seal = await Versions(connection).sealed(found.model_id, found.version)
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


def _written(version: ModelVersion, seal: Seal | None) -> VersionOut:
    return VersionOut(
        model_id=version.model_id,
        model=version.name,
        version=version.version,
        sealed=seal is not None,
        held=version.held,
        status_message=version.status_message,
        digest=seal.digest if seal else None,
        format=seal.format if seal else None,
        signature=dict(seal.signature) if seal and seal.signature else None,
        metrics=dict(seal.metrics) if seal else {},
        datasets=[_dataset(asdict(item)) for item in seal.datasets] if seal else [],
        run_id=seal.run_id if seal else version.run_id,
        tracking_run_id=version.run_id,
        commit=seal.commit if seal else None,
        pipeline=seal.pipeline if seal else None,
        aliases=list(version.aliases),
        tags=dict(version.tags),
        created_ms=version.created_ms,
    )


def _dataset(facts: dict[str, Any]) -> dict[str, Any]:
    return {"from" if key == "from_" else key: value for key, value in facts.items()}
