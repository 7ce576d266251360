"""From the outputs of a run to a version: one tracking run, its artifacts, one version."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from loopwright_common.errors import UnavailableError
from loopwright_common.failpoints import failpoint
from loopwright_common.sandbox import Level
from loopwright_common.storage import ArtifactStore, PackageFile, parse_manifest
from loopwright_trainer.pipelines.pipeline import Pipeline
from loopwright_trainer.runs.domain import Output
from loopwright_trainer.tracking.client import TrackingClient, TrackingRun
from loopwright_trainer.tracking.datasets import dataset_summary, extent_of
from loopwright_trainer.tracking.retrying_client import Body

SANDBOX_TAG = "loopwright.sandbox"
RUN_TAG = "loopwright.run"
PIPELINE_RUN_TAG = "loopwright.pipeline_run"
PACKAGE_PATH = "package"
_MAX_UPLOADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCandidate:
    """What a run has to register: `datasets` by role, `cause` is `Cause` as JSON text.

    `sandbox` is the weakest level that one of its stages ran at.
    """

    run_id: str
    commit: str
    pipeline: Pipeline
    package: Output
    datasets: Mapping[str, Output]
    metrics: Mapping[str, float]
    started_at: datetime
    cause: str
    sandbox: Level | None


async def open_run(
    tracking: TrackingClient, pipeline: str, run_id: str, commit: str, *, resumed: bool
) -> TrackingRun:
    """The tracking run of a pipeline run; if `resumed`, one made before a crash is found again."""
    experiment = await tracking.ensure_experiment(pipeline)
    if resumed and (found := await tracking.find_run(experiment, PIPELINE_RUN_TAG, run_id)):
        return found
    tags = {
        PIPELINE_RUN_TAG: run_id,
        "loopwright.pipeline": pipeline,
        "mlflow.source.git.commit": commit,
        "mlflow.source.type": "JOB",
        "mlflow.source.name": pipeline,
    }
    return await tracking.create_run(experiment, f"{pipeline}-{commit[:7]}", tags)


async def register_version(
    candidate: VersionCandidate,
    tracking: TrackingClient,
    run: TrackingRun,
    store: ArtifactStore,
    scratch: Path,
    *,
    resumed: bool,
) -> int:
    """The version's number; if `resumed`, one registered before a crash is found again."""
    model = str(candidate.pipeline.model)
    if resumed and (found := await tracking.find_version(model, RUN_TAG, candidate.run_id)):
        return found
    datasets = await _datasets(candidate, store, scratch)
    await asyncio.gather(
        tracking.log_metrics(run.id, candidate.metrics),
        tracking.ensure_model(model),
        _upload(await _files(candidate, store), tracking, run, store),
    )
    failpoint("trainer.uploaded")
    version = await _create_version(candidate, tracking, run, _tags(candidate, datasets))
    failpoint("trainer.registered")
    return version


async def _create_version(
    candidate: VersionCandidate, tracking: TrackingClient, run: TrackingRun, tags: Mapping[str, str]
) -> int:
    """One version, also where the registry made it and its answer was lost."""
    model, source = str(candidate.pipeline.model), f"runs:/{run.id}/{PACKAGE_PATH}"
    for delay in tracking.delays:
        try:
            return await tracking.create_version(model, source, run.id, tags, candidate.cause)
        except UnavailableError:
            await asyncio.sleep(delay)
        if found := await tracking.find_version(model, RUN_TAG, candidate.run_id):
            return found
    return await tracking.create_version(model, source, run.id, tags, candidate.cause)


async def _files(candidate: VersionCandidate, store: ArtifactStore) -> list[PackageFile]:
    """Every file to upload, by its path among the run's artifacts."""
    manifest = parse_manifest(await store.get(candidate.package.digest))
    files = [file._replace(path=f"{PACKAGE_PATH}/{file.path}") for file in manifest]
    for role, output in candidate.datasets.items():
        size = await store.size(output.digest) or 0
        files.append(PackageFile(f"loopwright/{role}.parquet", output.digest, size))
    return files


async def _upload(
    files: Sequence[PackageFile], tracking: TrackingClient, run: TrackingRun, store: ArtifactStore
) -> None:
    slots = asyncio.Semaphore(_MAX_UPLOADS)

    async def one(file: PackageFile) -> None:
        async with slots:
            await tracking.upload(run, file.path, file.size, _body(store, file.digest))

    await asyncio.gather(*(one(file) for file in files))


def _body(store: ArtifactStore, digest: str) -> Body:
    return lambda: store.stream(digest)


async def _datasets(
    candidate: VersionCandidate, store: ArtifactStore, scratch: Path
) -> dict[str, Mapping[str, object]]:
    target = candidate.pipeline.register.target if candidate.pipeline.register else None
    summaries = {}
    for role, output in candidate.datasets.items():
        path = scratch / f"{role}.parquet"
        await store.fetch(output.digest, path)
        extent = await asyncio.to_thread(extent_of, path, output.path)
        summaries[role] = dataset_summary(extent, target, candidate.started_at)
    return summaries


def _tags(candidate: VersionCandidate, datasets: Mapping[str, object]) -> dict[str, str]:
    pipeline = candidate.pipeline
    return {
        "loopwright.pipeline": pipeline.name,
        "loopwright.commit": candidate.commit,
        RUN_TAG: candidate.run_id,
        "loopwright.deploy": pipeline.deploy.model_dump_json(),
        "loopwright.monitor": pipeline.monitor.model_dump_json(),
        "loopwright.datasets": json.dumps(datasets),
        **({SANDBOX_TAG: str(candidate.sandbox)} if candidate.sandbox else {}),
    }
