"""Forgetting kept results: those that cannot be used any more, are too old, or are too many.

Only the entries go. Their outputs stay in the store, where packages, datasets and runs of other
services may refer to the same bytes by digest.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from loopwright_common import clock
from loopwright_common.database import Database
from loopwright_common.errors import CorruptError, NotFoundError
from loopwright_common.storage import ArtifactStore, parse_manifest
from loopwright_trainer.runs.domain import Output, StepEntry
from loopwright_trainer.runs.repository import StepEntries


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """What is forgotten beside what cannot be used: `keep` counts per stage, newest first."""

    older_than: timedelta | None = None
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """An entry that goes, and why; `size` in bytes is what its outputs still hold in the store."""

    entry: StepEntry
    why: str
    size: int


async def find_expired(
    database: Database, store: ArtifactStore, rule: RetentionRule
) -> list[Expired]:
    """What the rule lets go, newest first.

    UnavailableError while the database or the artifact store is away.
    """
    async with database.read() as connection:
        entries = await StepEntries(connection).all()
    expired = []
    ages = _ages(entries)
    for entry, age in zip(entries, ages, strict=True):
        sizes = [await _size(store, output) for output in entry.outputs]
        gone = [o.path for o, size in zip(entry.outputs, sizes, strict=True) if size is None]
        if why := _why(entry, age, gone, rule):
            expired.append(Expired(entry, why, sum(size or 0 for size in sizes)))
    return expired


async def delete_expired(database: Database, chosen: Iterable[Expired]) -> list[Expired]:
    """Those that went; one that a run has kept anew meanwhile stays."""
    async with database.unit_of_work() as uow:
        entries = StepEntries(uow.connection)
        return [each for each in chosen if await entries.delete(each.entry)]


def _ages(entries: Sequence[StepEntry]) -> list[int]:
    """For each entry (newest first) how many newer ones its stage has."""
    seen: Counter[tuple[str, str]] = Counter()
    ages = []
    for entry in entries:
        ages.append(seen[entry.repository, entry.stage])
        seen[entry.repository, entry.stage] += 1
    return ages


def _why(entry: StepEntry, newer: int, gone: Sequence[str], rule: RetentionRule) -> str | None:
    if gone:
        return f"out {gone[0]} is gone from the store"
    if rule.older_than is not None and clock.now() - entry.kept_at > rule.older_than:
        return "older than asked for"
    if rule.keep is not None and newer >= rule.keep:
        return f"{newer} newer ones of this stage are kept"
    return None


async def _size(store: ArtifactStore, output: Output) -> int | None:
    """Bytes of an output, or None when a part of it is gone."""
    if output.kind == "file":
        return await store.size(output.digest)
    try:
        files = parse_manifest(await store.get(output.digest))
    except (NotFoundError, CorruptError):
        return None
    sizes = [await store.size(file.digest) for file in files]
    return None if None in sizes else sum(size for size in sizes if size is not None)
