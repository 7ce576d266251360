"""Versions as people name them: by number or by `@alias`."""

from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import NotFoundError
from loopwright_registry.models.domain import ModelVersion, version_number
from loopwright_registry.models.repository import Models
from loopwright_registry.versions.repository import Versions


async def find_version(connection: AsyncConnection, model: str, reference: str) -> ModelVersion:
    """The version that is meant; NotFoundError when there is no such model, alias or version.

    InvalidError for a reference that is neither a number nor `@alias`.
    """
    if not reference.startswith("@"):
        return await Versions(connection).get(model, version_number(reference))
    alias = reference[1:]
    found = await Models(connection).get_by_name(model)
    if alias not in found.aliases:
        raise NotFoundError(f"{model} has no alias {alias}")
    return await Versions(connection).get(model, found.aliases[alias])
