"""Where a version's source lies in our store, if it lies there."""

import re
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_registry.artifacts.domain import SCHEME, artifact_path, package_root, safe_path
from loopwright_registry.artifacts.repository import Artifacts
from loopwright_registry.logged_models.domain import LoggedModel
from loopwright_registry.logged_models.repository import LoggedModels
from loopwright_registry.models.domain import version_number
from loopwright_registry.models.repository import Models
from loopwright_registry.runs.repository import Runs
from loopwright_registry.versions.repository import Versions

_LOGGED = re.compile(r"models:/(m-[\w-]+)")
_NUMBERED = re.compile(r"models:/([^/@]+)/(\d+)")
_ALIASED = re.compile(r"models:/([^/@]+)@([\w-]+)")
_OF_RUN = re.compile(r"runs:/([\w-]+)/(.+)")


@dataclass(frozen=True, slots=True)
class SourceRoot:
    """A directory in our store, and the run and logged model that it belongs to."""

    path: str
    run_id: str | None = None
    logged: LoggedModel | None = None


async def resolve_source(connection: AsyncConnection, source: str) -> SourceRoot:
    """Where the source lies in our store; InvalidError for one that lies anywhere else."""
    if root := await _resolve(connection, source):
        return root
    raise InvalidError(
        f"Invalid model version source: {source[:200]!r}. Log the model here, and give "
        "runs:/RUN/PATH, models:/NAME/VERSION or mlflow-artifacts:/PATH",
        field="source",
    )


async def _resolve(connection: AsyncConnection, source: str) -> SourceRoot | None:
    if found := _LOGGED.fullmatch(source):
        return await _logged_root(connection, found[1])
    if found := _NUMBERED.fullmatch(source):
        return await _version_root(connection, found[1], version_number(found[2]))
    if found := _ALIASED.fullmatch(source):
        return await _alias_root(connection, found[1], found[2])
    if found := _OF_RUN.fullmatch(source):
        return await _run_root(connection, found[1], safe_path(found[2].strip("/")))
    if source.startswith(f"{SCHEME}/"):
        return SourceRoot(artifact_path(source))
    return None


async def _logged_root(connection: AsyncConnection, logged_id: str) -> SourceRoot | None:
    logged = await LoggedModels(connection).get(logged_id)
    if not logged.artifact_uri.startswith(f"{SCHEME}/"):
        return None
    return SourceRoot(artifact_path(logged.artifact_uri), logged.source_run_id, logged)


async def _version_root(connection: AsyncConnection, name: str, number: int) -> SourceRoot | None:
    versions = Versions(connection)
    version = await versions.get(name, number)
    if seal := await versions.get_seal(version.model_id, number):
        return SourceRoot(package_root(seal.digest), version.run_id)
    if _NUMBERED.fullmatch(version.source) or _ALIASED.fullmatch(version.source):
        return None
    return await _resolve(connection, version.source)


async def _alias_root(connection: AsyncConnection, name: str, alias: str) -> SourceRoot | None:
    model = await Models(connection).get_by_name(name)
    if alias not in model.aliases:
        raise InvalidError(f"Registered model alias {alias} not found.")
    return await _version_root(connection, name, model.aliases[alias])


async def _run_root(connection: AsyncConnection, run_id: str, below: str) -> SourceRoot | None:
    """A directory of the run's artifacts, else the model that the run logged under that name."""
    try:
        info = await Runs(connection).info(run_id)
    except NotFoundError as error:
        raise InvalidError(f"source: {error}", field="source") from None
    if not info.artifact_uri.startswith(f"{SCHEME}/"):
        return None
    root = SourceRoot(f"{artifact_path(info.artifact_uri)}/{below}", run_id)
    if await Artifacts(connection).files_under(root.path):
        return root
    logged = await LoggedModels(connection).find_by_run(run_id, below)
    return await _logged_root(connection, logged.model_id) if logged else root
