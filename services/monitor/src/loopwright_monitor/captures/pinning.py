"""Pin what was captured: small files merged, labels filed, a manifest put in the store.

Artifacts are written first and exist for nobody until `settle` names them in a transaction.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from loopwright_common import clock
from loopwright_common.artifacts import ArtifactStore
from loopwright_common.captured import (
    LABEL_SCHEMA,
    LabelFile,
    Manifest,
    read_rows,
    table_to_bytes,
)
from loopwright_common.database import Database
from loopwright_common.errors import NotFoundError
from loopwright_common.failpoints import failpoint
from loopwright_common.unit_of_work import UnitOfWork
from loopwright_monitor.captures.label_repository import Labels, Said
from loopwright_monitor.captures.repository import Capture, Captures, Manifests, Pinned
from loopwright_monitor.drift.repository import Model, Models

MERGE_FROM = 16
"""Small files are merged once there are so many."""
SMALL = 10_000
"""Rows below which a file counts as small."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A manifest in the store with what its transaction has to note."""

    model_id: str
    pinned: Pinned
    merged: tuple[Capture, ...]
    merger: Capture | None
    labels: LabelFile | None
    labels_until: int


async def prepare(
    database: Database, store: ArtifactStore, model_id: str, *, trained: bool
) -> Plan:
    """Put everything in the store; NotFoundError for a model that nothing is known of."""
    async with database.read() as connection:
        model = await Models(connection).get(model_id)
        captures = await Captures(connection, model_id).all()
        labels = Labels(connection, model_id)
        unfiled, files = await labels.unfiled(), await labels.files()
    if model is None:
        raise NotFoundError(f"no model {model_id}")
    merged, merger = await _merge(store, captures)
    filed = await _file(store, unfiled)
    kept = [capture for capture in captures if capture not in merged]
    manifest = _manifest(
        model, [*([merger] if merger else []), *kept], [*files, *([filed] if filed else [])]
    )
    blob = await store.put(manifest.to_bytes())
    failpoint("monitor.manifest-file")
    pinned = Pinned(blob.digest, manifest.rows, manifest.labelled, clock.now(), trained)
    until = unfiled[-1].position if unfiled else 0
    return Plan(model_id, pinned, tuple(merged), merger, filed, until)


async def settle(uow: UnitOfWork, plan: Plan) -> None:
    """Make the pinned files the model's files."""
    if plan.merger is not None:
        await Captures(uow.connection, plan.model_id).merge(plan.merged, plan.merger)
    if plan.labels is not None:
        await Labels(uow.connection, plan.model_id).file(plan.labels_until, plan.labels)
    await Manifests(uow.connection, plan.model_id).add(plan.pinned)


def _manifest(model: Model, captures: Sequence[Capture], labels: Sequence[LabelFile]) -> Manifest:
    return Manifest(
        model_id=model.model_id,
        model=model.model,
        files=tuple(capture.file() for capture in captures),
        labels=tuple(labels),
        rows=sum(capture.rows for capture in captures),
        labelled=model.labelled,
    )


async def _merge(
    store: ArtifactStore, captures: Sequence[Capture]
) -> tuple[list[Capture], Capture | None]:
    small = [capture for capture in captures if capture.rows < SMALL]
    if len(small) < MERGE_FROM:
        return [], None
    bodies = [await store.get(capture.digest) for capture in small]
    body = await asyncio.to_thread(lambda: table_to_bytes(read_rows(bodies)))
    blob = await store.put(body)
    return small, Capture(
        digest=blob.digest,
        rows=sum(capture.rows for capture in small),
        first=min(capture.first for capture in small),
        last=max(capture.last for capture in small),
        source=f"merged from {len(small)} files",
    )


async def _file(store: ArtifactStore, said: Sequence[Said]) -> LabelFile | None:
    if not said:
        return None
    columns = {
        "id": [each.id for each in said],
        "kind": [each.kind for each in said],
        "label": [each.label for each in said],
        "at": [each.at for each in said],
    }
    table = pa.table(columns, schema=LABEL_SCHEMA)
    blob = await store.put(await asyncio.to_thread(table_to_bytes, table))
    return LabelFile(blob.digest, table.num_rows)
