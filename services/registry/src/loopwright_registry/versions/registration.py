"""Registering a version, and sealing it where its files are ours; nothing here commits."""

import json
import math

from loopwright_common.database import UnitOfWork
from loopwright_common.deploy_policy import DeployPolicy, MonitorPolicy
from loopwright_common.errors import ConflictError
from loopwright_common.events import ModelRegistered
from loopwright_common.failpoints import failpoint
from loopwright_registry.artifacts.domain import PACKAGES
from loopwright_registry.artifacts.repository import Artifacts
from loopwright_registry.logged_models.domain import VERSIONS_TAG, LoggedModel
from loopwright_registry.logged_models.repository import LoggedModels
from loopwright_registry.mlflow.clock import now_ms
from loopwright_registry.mlflow.endpoint import MlflowContext
from loopwright_registry.models.domain import (
    COMMIT_TAG,
    DEPLOY_TAG,
    GIT_COMMIT_TAG,
    MONITOR_TAG,
    PIPELINE_TAG,
    RUN_TAG,
    ModelVersion,
    NewVersion,
    RegisteredModel,
    Seal,
    SourcePackage,
    subject_of,
)
from loopwright_registry.models.mlmodel import policy_tag
from loopwright_registry.models.repository import Models
from loopwright_registry.runs.artifact_owners import runs_owning
from loopwright_registry.runs.domain import PIPELINE_RUN_TAG
from loopwright_registry.runs.run_fencing import require_attempt
from loopwright_registry.versions import service
from loopwright_registry.versions.announcement import model_registered_event
from loopwright_registry.versions.repository import Versions
from loopwright_registry.versions.sealing import VersionDraft, files_changed

HELD = "held: it is registered when its pipeline run registers its package"


class FilesChangedError(ConflictError):
    """Files under the source changed between reading and sealing."""


async def create_version(
    uow: UnitOfWork, context: MlflowContext, new: NewVersion, draft: VersionDraft
) -> ModelVersion:
    """Register, and seal where the files are ours; `model-registered` leaves with the seal.

    A pipeline run registers once: its repetition gets the same version, and a version that its
    code made before is adopted. NotFoundError without the model, RefusedError where a newer attempt
    holds the run, FilesChangedError where files changed since they were read.
    """
    versions = Versions(uow.connection)
    model = await service.lock_model(uow, new.name)
    await require_attempt(uow, context.bearer, *await _written_runs(uow, new, draft))
    run_tag = new.tags.get(RUN_TAG)
    if run_tag and (before := await versions.find_sealed_by_tag(model.model_id, RUN_TAG, run_tag)):
        return before
    if draft.package and await files_changed(uow.connection, draft.package):
        raise FilesChangedError(f"files under {new.source} changed meanwhile; register again")
    version = await _new_row(uow, model, new, draft)
    await versions.save(version)
    await _tag_logged_model(uow, version, draft.logged)
    if draft.package and not version.held:
        location = context.store.location(draft.package.digest)
        await _seal(uow, version, draft, draft.package, location)
    await service.apply_pending_champion(uow, model.model_id, version.version)
    return await versions.get(model.name, version.version)


async def _written_runs(uow: UnitOfWork, new: NewVersion, draft: VersionDraft) -> list[str]:
    """The runs that a registration adds to; a copy of a sealed package adds to none."""
    root = draft.package.root if draft.package else None
    if root and root.startswith(f"{PACKAGES}/"):
        return []
    named = [new.run_id, draft.run_id, draft.logged.source_run_id if draft.logged else None]
    owning = await runs_owning(uow.connection, root) if root else []
    return sorted({*owning, *(run_id for run_id in named if run_id)})


async def _new_row(
    uow: UnitOfWork, model: RegisteredModel, new: NewVersion, draft: VersionDraft
) -> ModelVersion:
    """The version's row: of a held version that is adopted, else with the next number."""
    versions, at, logged = Versions(uow.connection), now_ms(), draft.logged
    in_pipeline = bool(draft.run and PIPELINE_RUN_TAG in draft.run.tags)
    held = in_pipeline and uow.cause is None
    adopted = None
    if uow.cause and draft.run_id:
        adopted = await versions.find_held(model.model_id, draft.run_id)
    number = (
        adopted.version if adopted else await Models(uow.connection).next_version(model.model_id)
    )
    return ModelVersion(
        model_id=model.model_id,
        name=model.name,
        version=number,
        source=new.source,
        run_id=new.run_id or draft.run_id or (logged.source_run_id if logged else None),
        logged_model_id=new.logged_model_id or (logged.model_id if logged else None),
        run_link=new.run_link,
        description=new.description,
        stage=adopted.stage if adopted else "None",
        status_message=HELD if held else draft.unsealed,
        held=held,
        created_ms=adopted.created_ms if adopted else at,
        updated_ms=at,
        tags=new.tags,
    )


async def _seal(
    uow: UnitOfWork,
    version: ModelVersion,
    draft: VersionDraft,
    package: SourcePackage,
    location: str,
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
        deploy=policy_tag(tags, DEPLOY_TAG, DeployPolicy),
        monitor=policy_tag(tags, MONITOR_TAG, MonitorPolicy),
    )
    await Artifacts(uow.connection).publish_package(package.digest, list(package.files))
    data: ModelRegistered = model_registered_event(version, seal)
    event = await uow.emit(
        data,
        key=version.model_id,
        subject=subject_of(version.name, version.version),
        identity=f"{version.model_id}/{version.version}",
    )
    await Versions(uow.connection).seal(version.model_id, version.version, seal, event.id)
    failpoint("registry.sealed")


async def _tag_logged_model(
    uow: UnitOfWork, version: ModelVersion, logged: LoggedModel | None
) -> None:
    """Tag the logged model with its versions, where MLflow's client looks for them."""
    if logged is None:
        return
    await uow.lock(f"logged/{logged.model_id}")
    logged_models = LoggedModels(uow.connection)
    now = await logged_models.get(logged.model_id)
    known = [*now.registered_versions(), {"name": version.name, "version": version.version}]
    await logged_models.set_tags(logged.model_id, {VERSIONS_TAG: json.dumps(known)})
