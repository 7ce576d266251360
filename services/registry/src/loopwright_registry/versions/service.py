"""Use cases of versions, aliases and routes; none commits."""

from collections.abc import Mapping
from datetime import datetime

from loopwright_common import clock
from loopwright_common.database import UnitOfWork
from loopwright_common.errors import ConflictError
from loopwright_common.events import AliasChanged, PromotionRequested, VersionDeleted
from loopwright_registry.models.domain import (
    CHAMPION,
    LoadedVersions,
    ModelVersion,
    RegisteredModel,
    ServingUse,
    subject_of,
)
from loopwright_registry.models.repository import ChampionDecision, Models
from loopwright_registry.models.route_repository import LoadedVersionsRepository
from loopwright_registry.versions.repository import Versions

CLIENT, DEPLOYER = "client", "deployer"
USES: Mapping[ServingUse, str] = {
    "live": "serves traffic; promote another version or abort its deployment first",
    "shadow": "answers beside the champion; finish or abort its deployment first",
    "kept": "is kept loaded for an undo, until `deploy.keep` newer champions have followed it",
}


async def lock_model(uow: UnitOfWork, name: str) -> RegisteredModel:
    """The model, which nobody else writes to until the end of this transaction.

    NotFoundError when there is none, ConflictError where it was renamed meanwhile.
    """
    models = Models(uow.connection)
    model = await models.get_by_name(name)
    await uow.lock(_lock(model.model_id))
    same = await models.get_by_name(name)
    if same.model_id != model.model_id:
        raise ConflictError(f"{name} was renamed or deleted meanwhile; try again")
    return same


async def set_alias(
    uow: UnitOfWork, model: RegisteredModel, alias: str, version: int | None, by: str
) -> None:
    """Move (or with None remove) an alias and say so; where it is already, nothing happens."""
    before = await Models(uow.connection).set_alias(model.model_id, alias, version)
    if before == version:
        return
    data = AliasChanged(
        model_id=model.model_id,
        model=model.name,
        alias=alias,
        version=version,
        previous=before,
        by=by,
    )
    await uow.emit(data, key=model.model_id, subject=subject_of(model.name, version))


async def request_alias(
    uow: UnitOfWork, model: RegisteredModel, alias: str, version: int | None
) -> None:
    """What a client asks of an alias.

    `champion` names what serves: setting it asks the deployer for a promotion, which the alias
    follows; ConflictError for removing it.
    """
    if alias != CHAMPION:
        await set_alias(uow, model, alias, version, CLIENT)
        return
    serves = model.aliases.get(CHAMPION)
    if version is not None and version != serves:
        names = {"model_id": model.model_id, "model": model.name, "version": version}
        requested = PromotionRequested(**names, by=CLIENT)
        await uow.emit(requested, key=model.model_id, subject=subject_of(model.name, version))
    elif version is None and serves is not None:
        raise ConflictError(
            f"version {serves} of {model.name} serves traffic, and {CHAMPION} says so: undo its "
            "promotion or promote another version, and the alias follows"
        )


async def decide_champion(
    uow: UnitOfWork, model_id: str, version: int | None, decided_at: datetime
) -> None:
    """Follow the deployer; an older decision than the last, or a repeated one, changes nothing.

    The version may not be known here yet: then the decision waits for it.
    """
    await uow.lock(_lock(model_id))
    models = Models(uow.connection)
    last = await models.champion_decision(model_id)
    at = clock.to_text(decided_at)
    if last and last.decided_at >= at:
        return
    model = await models.find(model_id)
    missing = version and not await Versions(uow.connection).find(model_id, version)
    pending = model is None or bool(missing)
    await models.set_champion_decision(model_id, ChampionDecision(version, at, pending))
    if model and not pending:
        await set_alias(uow, model, CHAMPION, version, DEPLOYER)


async def apply_pending_champion(uow: UnitOfWork, model_id: str, version: int) -> None:
    """Apply a decision that came before its version, on a locked model."""
    models = Models(uow.connection)
    decision, model = await models.champion_decision(model_id), await models.find(model_id)
    if model and decision and decision.pending and decision.version == version:
        await models.set_champion_decision(model_id, decision._replace(pending=False))
        await set_alias(uow, model, CHAMPION, version, DEPLOYER)


async def require_unloaded(uow: UnitOfWork, version: ModelVersion, what: str) -> None:
    """Raise ConflictError while the version is champion or loaded."""
    if CHAMPION in version.aliases:
        raise ConflictError(
            f"version {version.version} of {version.name} is its champion and serves traffic; "
            "promote another first"
        )
    for route in await LoadedVersionsRepository(uow.connection).of_model(version.model_id):
        if use := route.versions.get(version.version):
            raise ConflictError(
                f"version {version.version} of {version.name} cannot be {what}: in "
                f"{route.environment} it {USES[use]}"
            )


async def delete_version(uow: UnitOfWork, name: str, number: int, by: str = CLIENT) -> None:
    """Delete a version; its number is never given again.

    ConflictError while it is champion or loaded, NotFoundError when there is none.
    """
    model = await lock_model(uow, name)
    versions = Versions(uow.connection)
    version = await versions.get(name, number)
    await require_unloaded(uow, version, "deleted")
    for alias in version.aliases:
        await set_alias(uow, model, alias, None, by)
    await versions.delete(model.model_id, number)
    data = VersionDeleted(model_id=model.model_id, model=name, version=number, by=by)
    await uow.emit(data, key=model.model_id, subject=subject_of(name, number))


async def delete_model(uow: UnitOfWork, name: str) -> None:
    """Delete a model with its versions.

    ConflictError while one of them is deployed, NotFoundError without the model.
    """
    model = await lock_model(uow, name)
    await require_undeployed(uow, model, "deleted")
    for version in await Versions(uow.connection).of_model(model.model_id):
        await delete_version(uow, name, version.version)
    await Models(uow.connection).delete(model.model_id)


async def require_undeployed(uow: UnitOfWork, model: RegisteredModel, what: str) -> None:
    """Raise ConflictError while the model has a champion or a route."""
    if CHAMPION in model.aliases:
        raise ConflictError(
            f"{model.name} is deployed (version {model.aliases[CHAMPION]} is its champion), "
            f"so it cannot be {what}"
        )
    for route in await LoadedVersionsRepository(uow.connection).of_model(model.model_id):
        if route.versions:
            numbers = ", ".join(str(number) for number in sorted(route.versions))
            raise ConflictError(
                f"{model.name} is deployed in {route.environment} (versions {numbers} are loaded), "
                f"so it cannot be {what}"
            )


async def store_loaded_versions(uow: UnitOfWork, model_id: str, route: LoadedVersions) -> None:
    """Keep which versions are loaded; an older revision than the known one changes nothing."""
    await uow.lock(_lock(model_id))
    await LoadedVersionsRepository(uow.connection).save(model_id, route)


def _lock(model_id: str) -> str:
    return f"model/{model_id}"
