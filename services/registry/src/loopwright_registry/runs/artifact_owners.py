"""Which runs the artifacts at a path belong to."""

from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_registry.artifacts.domain import SCHEME
from loopwright_registry.logged_models.repository import LoggedModels
from loopwright_registry.runs.attempt_repository import RunAttempts
from loopwright_registry.runs.repository import Runs


async def runs_owning(connection: AsyncConnection, path: str) -> list[str]:
    """The runs within whose artifacts, or those of their logged models, the path lies."""
    parts = path.split("/")
    uris = [f"{SCHEME}/" + "/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    logged = await LoggedModels(connection).runs_owning(uris)
    return sorted({*await Runs(connection).owning_artifacts(uris), *logged})


async def fenced_runs_within(connection: AsyncConnection, path: str) -> list[str]:
    """The runs that an attempt holds and whose artifacts lie below the directory."""
    return await RunAttempts(connection).fenced_within(f"{SCHEME}/{path}")
