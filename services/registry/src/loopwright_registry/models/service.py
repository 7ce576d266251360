"""Use cases of the registry proper; none commits."""

import json
import math
from collections.abc import Mapping
from datetime import datetime

from loopwright_common import clock
from loopwright_common.artifacts import ArtifactStore
from loopwright_common.errors import ConflictError
from loopwright_common.events import AliasChanged, ModelRegistered, VersionDeleted
from loopwright_common.failpoints import failpoint
from loopwright_common.unit_of_work import UnitOfWork
from loopwright_registry.artifacts.repository import Artifacts
from loopwright_registry.clock import now_ms
from loopwright_registry.logged.domain import VERSIONS_TAG, LoggedModel
from loopwright_registry.logged.repository import LoggedModels
from loopwright_registry.models.announcement import event_data
from loopwright_registry.models.domain import (
    CHAMPION,
    COMMIT_TAG,
    DEPLOY_TAG,
    GIT_COMMIT_TAG,
    MONITOR_TAG,
    PIPELINE_TAG,
    RUN_TAG,
    ModelVersion,
    NewVersion,
    Package,
    RegisteredModel,
    Seal,
    Use,
    json_tag,
    subject_of,
)
from loopwright_registry.models.repository import ChampionDecision, Models
from loopwright_registry.models.route_repository import Routes
from loopwright_registry.models.sealing import Draft, changed
from loopwright_registry.models.version_repository import Versions
from loopwright_registry.runs.domain import PIPELINE_RUN_TAG

CLIENT, DEPLOYER = "client", "deployer"
USES: Mapping[Use, str] = {
    "live": "serves traffic; promote another version or abort its deployment first",
    "shadow": "answers beside the champion; finish or abort its deployment first",
    "kept": "is kept loaded for an undo, until `deploy.keep` newer champions have followed it",
}
HELD = "held: it is registered when its pipeline run registers its package"


class FilesChangedError(ConflictError):
    """Files under the source changed between reading and sealing."""


async def create_version(
    uow: UnitOfWork, store: ArtifactStore, asked: NewVersion, draft: Draft
) -> ModelVersion:
    """Register, and seal where the files are ours; `model-registered` leaves with the seal.

    A pipeline run registers once: its repetition gets the same version, and a version that its
    code made before is adopted.
    """
    models, versions = Models(uow.connection), Versions(uow.connection)
    model = await models.named(asked.name)
    run_tag = asked.tags.get(RUN_TAG)
    if run_tag and (before := await versions.tagged(model.model_id, RUN_TAG, run_tag)):
        return before
    if draft.package and await changed(uow.connection, draft.package):
        raise FilesChangedError(f"files under {asked.source} changed meanwhile; register again")
    version = await _placed(uow, model, asked, draft)
    await versions.put(version)
    await _note_registration(uow, version, draft.logged)
    if draft.package and not version.held:
        await _seal(uow, version, draft, draft.package, store.location(draft.package.digest))
    await complete_champion(uow, model.model_id, version.version)
    return await versions.get(model.name, version.version)


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


async def decide_champion(
    uow: UnitOfWork, model_id: str, version: int | None, decided_at: datetime
) -> None:
    """Follow the deployer; an older decision than the last, or a repeated one, changes nothing.

    The version may not be known here yet: then the decision waits for it.
    """
    models = Models(uow.connection)
    last = await models.champion_decision(model_id)
    moment = clock.to_text(decided_at)
    if last and last.decided_at >= moment:
        return
    model = await models.find(model_id)
    missing = version and not await Versions(uow.connection).find(model_id, version)
    pending = model is None or bool(missing)
    await models.decide_champion(model_id, ChampionDecision(version, moment, pending))
    if model and not pending:
        await set_alias(uow, model, CHAMPION, version, DEPLOYER)


async def complete_champion(uow: UnitOfWork, model_id: str, version: int) -> None:
    """Apply a decision that came before its version."""
    models = Models(uow.connection)
    decision, model = await models.champion_decision(model_id), await models.find(model_id)
    if model and decision and decision.pending and decision.version == version:
        await models.decide_champion(model_id, decision._replace(pending=False))
        await set_alias(uow, model, CHAMPION, version, DEPLOYER)


async def delete_version(uow: UnitOfWork, name: str, number: int, by: str = CLIENT) -> None:
    """ConflictError while the version is champion or loaded; its number is never given again."""
    model = await Models(uow.connection).named(name)
    versions = Versions(uow.connection)
    version = await versions.get(name, number)
    if CHAMPION in version.aliases:
        raise ConflictError(
            f"version {number} of {name} is its champion and serves traffic; promote another first"
        )
    for route in await Routes(uow.connection).of_model(model.model_id):
        if use := route.versions.get(number):
            raise ConflictError(
                f"version {number} of {name} cannot be deleted: in {route.environment} it "
                f"{USES[use]}"
            )
    for alias in version.aliases:
        await set_alias(uow, model, alias, None, by)
    await versions.delete(model.model_id, number)
    data = VersionDeleted(model_id=model.model_id, model=name, version=number, by=by)
    await uow.emit(data, key=model.model_id, subject=subject_of(name, number))


async def delete_model(uow: UnitOfWork, name: str) -> None:
    models = Models(uow.connection)
    model = await models.named(name)
    await require_undeployed(uow, model, "deleted")
    for version in await Versions(uow.connection).of_model(model.model_id):
        await delete_version(uow, name, version.version)
    await models.delete(model.model_id)


async def require_undeployed(uow: UnitOfWork, model: RegisteredModel, what: str) -> None:
    """ConflictError while the model has a champion or a route."""
    if CHAMPION in model.aliases:
        raise ConflictError(
            f"{model.name} is deployed (version {model.aliases[CHAMPION]} is its champion), "
            f"so it cannot be {what}"
        )
    for route in await Routes(uow.connection).of_model(model.model_id):
        if route.versions:
            numbers = ", ".join(str(number) for number in sorted(route.versions))
            raise ConflictError(
                f"{model.name} is deployed in {route.environment} (versions {numbers} are loaded), "
                f"so it cannot be {what}"
            )


async def _placed(
    uow: UnitOfWork, model: RegisteredModel, asked: NewVersion, draft: Draft
) -> ModelVersion:
    """The version's row: of a held version that is adopted, else with the next number."""
    versions, moment, logged = Versions(uow.connection), now_ms(), draft.logged
    in_pipeline = bool(draft.run and PIPELINE_RUN_TAG in draft.run.tags)
    held = in_pipeline and uow.cause is None
    adopted = None
    if uow.cause and draft.run_id:
        adopted = await versions.held_of_run(model.model_id, draft.run_id)
    number = (
        adopted.version if adopted else await Models(uow.connection).next_version(model.model_id)
    )
    return ModelVersion(
        model_id=model.model_id,
        name=model.name,
        version=number,
        source=asked.source,
        run_id=asked.run_id or draft.run_id or (logged.source_run_id if logged else None),
        logged_model_id=asked.logged_model_id or (logged.model_id if logged else None),
        run_link=asked.run_link,
        description=asked.description,
        stage=adopted.stage if adopted else "None",
        status_message=HELD if held else draft.unsealed,
        held=held,
        created_ms=adopted.created_ms if adopted else moment,
        updated_ms=moment,
        tags=asked.tags,
    )


async def _seal(
    uow: UnitOfWork, version: ModelVersion, draft: Draft, package: Package, location: str
) -> None:
    run_tags = draft.run.tags if draft.run else {}
    metrics = draft.run.metrics if draft.run else ()
    tags = version.tags
    seal = Seal(
        digest=package.digest,
        location=location,
        format=package.format,
        signature=package.signature,
        pipeline=tags.get(PIPELINE_TAG),
        run_id=tags.get(RUN_TAG) or version.run_id,
        commit=tags.get(COMMIT_TAG) or run_tags.get(GIT_COMMIT_TAG),
        metrics={m.key: m.value for m in metrics if math.isfinite(m.value)},
        datasets=list(draft.datasets),
        deploy=json_tag(tags, DEPLOY_TAG),
        monitor=json_tag(tags, MONITOR_TAG),
    )
    await Artifacts(uow.connection).freeze(package.digest, list(package.files))
    data: ModelRegistered = event_data(version, seal)
    event = await uow.emit(
        data,
        key=version.model_id,
        subject=subject_of(version.name, version.version),
        identity=f"{version.model_id}/{version.version}",
    )
    await Versions(uow.connection).seal(version.model_id, version.version, seal, event.id)
    failpoint("registry.sealed")


async def _note_registration(
    uow: UnitOfWork, version: ModelVersion, logged: LoggedModel | None
) -> None:
    """As MLflow's server does, so that its client finds the versions of a logged model."""
    if logged is None:
        return
    logged_models = LoggedModels(uow.connection)
    now = await logged_models.get(logged.model_id)
    known = json.loads(now.tags.get(VERSIONS_TAG, "[]"))
    known.append({"name": version.name, "version": version.version})
    await logged_models.set_tags(logged.model_id, {VERSIONS_TAG: json.dumps(known)})
