"""What is read before a version is sealed: its files, its MLmodel, its run's datasets.

All of this happens before the transaction that creates the version; `files_changed` says inside
it whether the files are still the same.
"""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common import clock
from loopwright_common.database import Database
from loopwright_common.errors import InvalidError, NotFoundError, without_paths
from loopwright_common.failpoints import failpoint
from loopwright_common.storage import (
    ArtifactStore,
    Blob,
    PackageFile,
    manifest_of,
    read_parquet_stats,
)
from loopwright_registry.artifacts.domain import SCHEME, artifact_path
from loopwright_registry.artifacts.repository import Artifacts
from loopwright_registry.logged_models.domain import LoggedModel
from loopwright_registry.models.domain import (
    DATASET_PATHS,
    DATASETS_TAG,
    DatasetRole,
    NewVersion,
    SealedDataset,
    SourcePackage,
)
from loopwright_registry.models.mlmodel import format_of, json_tag, signature_of
from loopwright_registry.runs.domain import Run
from loopwright_registry.runs.repository import Runs
from loopwright_registry.versions.sources import resolve_source

_LARGEST_MLMODEL = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDraft:
    """A version to be: with a package it can be sealed, without one `unsealed` says why not."""

    run: Run | None = None
    logged: LoggedModel | None = None
    package: SourcePackage | None = None
    datasets: Sequence[SealedDataset] = ()
    unsealed: str | None = None

    @property
    def run_id(self) -> str | None:
        return self.run.info.run_id if self.run else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourceContents:
    root: str
    files: list[PackageFile]
    run: Run | None = None
    logged: LoggedModel | None = None
    datasets: Mapping[DatasetRole, Blob] = field(default_factory=dict)


async def read_draft(database: Database, store: ArtifactStore, new: NewVersion) -> VersionDraft:
    """Read the package and put its manifest into the store, where nobody looks for it yet.

    InvalidError names what of the source or its tags is wrong, UnavailableError while the store is
    away.
    """
    async with database.read() as connection:
        contents = await _find(connection, new)
    package, unsealed = await _package(store, contents, new.source)
    datasets = []
    if package and contents.run:
        details = json_tag(new.tags, DATASETS_TAG) or {}
        for role, blob in contents.datasets.items():
            given = details.get(role)
            datasets.append(await _dataset(store, role, blob, given, contents.run))
    return VersionDraft(
        run=contents.run,
        logged=contents.logged,
        package=package,
        datasets=datasets,
        unsealed=unsealed,
    )


async def files_changed(connection: AsyncConnection, package: SourcePackage) -> bool:
    """Whether the files are no longer those that were read."""
    return await Artifacts(connection).files_under(package.root) != list(package.files)


async def _find(connection: AsyncConnection, new: NewVersion) -> _SourceContents:
    root = await resolve_source(connection, new.source)
    run_id = new.run_id or root.run_id
    if root.run_id and new.run_id and root.run_id != new.run_id:
        raise InvalidError(
            f"source {new.source} belongs to run {root.run_id}, not {new.run_id}",
            field="source",
        )
    run = await _run(connection, run_id)
    artifacts = Artifacts(connection)
    return _SourceContents(
        root=root.path,
        files=await artifacts.files_under(root.path),
        run=run,
        logged=root.logged,
        datasets=await _dataset_blobs(artifacts, run) if run else {},
    )


async def _run(connection: AsyncConnection, run_id: str | None) -> Run | None:
    """The run of a version, if it is known here.

    Version and run may come from different servers, so an unknown run is none.
    """
    try:
        return await Runs(connection).get(run_id) if run_id else None
    except NotFoundError:
        return None


async def _dataset_blobs(artifacts: Artifacts, run: Run) -> dict[DatasetRole, Blob]:
    if not run.info.artifact_uri.startswith(f"{SCHEME}/"):
        return {}
    root = artifact_path(run.info.artifact_uri)
    blobs = {role: await artifacts.find(f"{root}/{path}") for role, path in DATASET_PATHS.items()}
    return {role: blob for role, blob in blobs.items() if blob}


async def _package(
    store: ArtifactStore, contents: _SourceContents, source: str
) -> tuple[SourcePackage | None, str | None]:
    mlmodel = next((file for file in contents.files if file.path == "MLmodel"), None)
    if mlmodel is None:
        return None, f"not sealed: there is no MLmodel file under {source}"
    try:
        described = await _read_mlmodel(store, mlmodel)
        form, signature = format_of(described), signature_of(described)
    except InvalidError as error:
        return None, f"not sealed: {error}"
    manifest = await store.put(manifest_of(contents.files))
    failpoint("registry.manifest-kept")
    return (
        SourcePackage(
            root=contents.root,
            files=contents.files,
            digest=manifest.digest,
            format=form,
            signature=signature,
        ),
        None,
    )


async def _read_mlmodel(store: ArtifactStore, file: PackageFile) -> Mapping[str, Any]:
    import yaml

    if file.size > _LARGEST_MLMODEL:
        raise InvalidError(f"the MLmodel file has {file.size} bytes; at most {_LARGEST_MLMODEL}")
    content = await store.get(file.digest)
    try:
        described = await asyncio.to_thread(yaml.safe_load, content)
    except yaml.YAMLError as error:
        raise InvalidError(f"the MLmodel file is no YAML: {without_paths(error)}") from None
    except RecursionError:
        raise InvalidError("the MLmodel file nests values too deeply") from None
    if not isinstance(described, Mapping):
        raise InvalidError("the MLmodel file is no YAML mapping")
    return described


async def _dataset(
    store: ArtifactStore, role: DatasetRole, blob: Blob, given: object, run: Run
) -> SealedDataset:
    """The dataset with facts from the tag where it has them, else from the file itself."""
    details = given if isinstance(given, dict) else None
    if details is None or not isinstance(details.get("rows"), int):
        details = {**await _measured(store, blob), **(details or {})}
    until = details.get("until") or _text(run.info.start_ms)
    return SealedDataset(
        role=role,
        digest=blob.digest,
        location=store.location(blob.digest),
        rows=details["rows"],
        target=details.get("target"),
        from_=details.get("from"),
        until=until,
    )


async def _measured(store: ArtifactStore, blob: Blob) -> dict[str, Any]:
    """The extent of a dataset, read from a file: it may be larger than our memory."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "dataset.parquet"
        await store.fetch(blob.digest, file)
        return await asyncio.to_thread(_extent, file)


def _extent(file: Path) -> dict[str, Any]:
    """The number of rows, and first and last `time` where there is such a column."""
    import pyarrow as pa

    try:
        extent = read_parquet_stats(file)
    except pa.ArrowException as error:
        raise InvalidError(
            f"a dataset artifact is no readable Parquet file: {without_paths(error)}"
        ) from None
    return {
        "rows": extent.rows,
        "from": clock.to_text(extent.first) if extent.first else None,
        "until": clock.to_text(extent.last) if extent.last else None,
    }


def _text(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return clock.to_text(datetime.fromtimestamp(milliseconds / 1000, UTC))
