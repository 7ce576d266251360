"""Pin what was captured: small files merged, labels filed, a manifest put in the store.

Artifacts are written first and exist for nobody until `commit` names them in a transaction.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from loopwright_common import clock
from loopwright_common.database import Database, UnitOfWork
from loopwright_common.errors import NotFoundError
from loopwright_common.failpoints import failpoint
from loopwright_common.storage import ArtifactStore
from loopwright_common.storage.captured_dataset import LabelFile, Manifest
from loopwright_common.storage.captured_tables import LABEL_SCHEMA, read_rows, table_to_bytes
from loopwright_monitor.captures.label_repository import Labels, ReportedLabel
from loopwright_monitor.captures.repository import (
    MERGED_FROM,
    CaptureFile,
    CaptureFiles,
    Manifests,
    PinnedManifest,
)
from loopwright_monitor.store import locks
from loopwright_monitor.watched.repository import WatchedModel, WatchedModels

MERGE_FROM = 16
"""Small files are merged once there are so many."""
SMALL = 10_000
"""Rows below which a file counts as small."""


@dataclass(frozen=True, slots=True)
class SnapshotPlan:
    """A manifest in the store with what its transaction has to note.

    `basis` is the position of the manifest before it: with another one, this one is out of date.
    """

    model_id: str
    basis: int
    pinned: PinnedManifest
    captures_until: int
    merger: CaptureFile | None
    labels: LabelFile | None
    labels_until: int


async def pin(database: Database, store: ArtifactStore, model_id: str) -> PinnedManifest:
    """Pin what is captured by now.

    NotFoundError for a model that nothing is known of, InvalidError where its rows make no one
    table since the types of a column conflict.
    """
    while True:
        plan = await prepare(database, store, model_id, trained=False)
        async with database.unit_of_work() as uow:
            if await commit(uow, plan):
                return plan.pinned


async def prepare(
    database: Database, store: ArtifactStore, model_id: str, *, trained: bool
) -> SnapshotPlan:
    """Put everything in the store; `trained` says that a training will read it.

    NotFoundError for a model that nothing is known of, InvalidError where its rows make no one
    table since the types of a column conflict.
    """
    captured = await _read_captures(database, model_id)
    merged, merger = await _merge(store, captured.captures)
    filed = await _file(store, captured.unfiled)
    kept = [capture for capture in captured.captures if capture not in merged]
    manifest = _manifest(
        captured.model,
        [*([merger] if merger else []), *kept],
        [*captured.files, *([filed] if filed else [])],
    )
    blob = await store.put(manifest.to_bytes())
    failpoint("monitor.manifest-file")
    return SnapshotPlan(
        model_id=model_id,
        basis=captured.basis,
        pinned=PinnedManifest(blob.digest, manifest.rows, manifest.labelled, clock.now(), trained),
        captures_until=merged[-1].position if merged else 0,
        merger=merger,
        labels=filed,
        labels_until=captured.unfiled[-1].position if captured.unfiled else 0,
    )


async def commit(uow: UnitOfWork, plan: SnapshotPlan) -> bool:
    """Make the pinned files the model's files; False where others were pinned meanwhile."""
    await uow.lock(locks.capturing(plan.model_id))
    manifests = Manifests(uow.connection, plan.model_id)
    if await manifests.last_position() != plan.basis:
        return False
    if plan.merger is not None:
        captures = CaptureFiles(uow.connection, plan.model_id)
        await captures.merge(SMALL, plan.captures_until, plan.merger)
    if plan.labels is not None:
        await Labels(uow.connection, plan.model_id).file(plan.labels_until, plan.labels)
    await manifests.add(plan.pinned)
    return True


@dataclass(frozen=True, slots=True)
class _ModelCaptures:
    """All of a model that a manifest is made of, as it was at one time."""

    model: WatchedModel
    basis: int
    captures: Sequence[CaptureFile]
    unfiled: Sequence[ReportedLabel]
    files: Sequence[LabelFile]


async def _read_captures(database: Database, model_id: str) -> _ModelCaptures:
    async with database.unit_of_work() as uow:
        await uow.lock(locks.capturing(model_id))
        model = await WatchedModels(uow.connection).get(model_id)
        if model is None:
            raise NotFoundError(f"no model {model_id}")
        labels = Labels(uow.connection, model_id)
        return _ModelCaptures(
            model=model,
            basis=await Manifests(uow.connection, model_id).last_position(),
            captures=await CaptureFiles(uow.connection, model_id).all(),
            unfiled=await labels.unfiled(),
            files=await labels.files(),
        )


def _manifest(
    model: WatchedModel, captures: Sequence[CaptureFile], labels: Sequence[LabelFile]
) -> Manifest:
    return Manifest(
        model_id=model.model_id,
        model=model.model,
        files=tuple(capture.file() for capture in captures),
        labels=tuple(labels),
        rows=sum(capture.rows for capture in captures),
        labelled=model.labelled,
    )


async def _merge(
    store: ArtifactStore, captures: Sequence[CaptureFile]
) -> tuple[list[CaptureFile], CaptureFile | None]:
    small = [capture for capture in captures if capture.rows < SMALL]
    if len(small) < MERGE_FROM:
        return [], None
    bodies = [await store.get(capture.digest) for capture in small]
    body = await asyncio.to_thread(lambda: table_to_bytes(read_rows(bodies)))
    blob = await store.put(body)
    return small, CaptureFile(
        digest=blob.digest,
        rows=sum(capture.rows for capture in small),
        first=min(capture.first for capture in small),
        last=max(capture.last for capture in small),
        source=f"{MERGED_FROM}{len(small)} files",
    )


async def _file(store: ArtifactStore, reported: Sequence[ReportedLabel]) -> LabelFile | None:
    if not reported:
        return None
    columns = {
        "id": [each.id for each in reported],
        "kind": [each.kind for each in reported],
        "label": [each.label for each in reported],
        "at": [each.at for each in reported],
    }
    table = pa.table(columns, schema=LABEL_SCHEMA)
    blob = await store.put(await asyncio.to_thread(table_to_bytes, table))
    return LabelFile(blob.digest, table.num_rows)
