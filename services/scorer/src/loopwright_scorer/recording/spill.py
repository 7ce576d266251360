"""Sealed batches on disk while the bus is away: oldest first, up to a limit."""

import json
import os
from pathlib import Path

import structlog

from loopwright_common.cloudevents import OutgoingRecord

log = structlog.get_logger()
_SUFFIX = ".batch"
_UNFINISHED = ".new"


class SpillDirectory:
    """A directory of records, each in its own file, named in the order they came.

    Its methods block; call them in a thread, one at a time. `limit` is how many bytes it may take.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        directory.mkdir(parents=True, exist_ok=True)
        for torn in directory.glob(f"*{_UNFINISHED}"):
            torn.unlink()
        self._files = sorted(directory.glob(f"*{_SUFFIX}"))
        self._size = sum(path.stat().st_size for path in self._files)
        self._next = int(self._files[-1].stem) + 1 if self._files else 0

    def __len__(self) -> int:
        return len(self._files)

    def append(self, record: OutgoingRecord) -> bool:
        """Keep a record for later; False when the limit or the disk does not allow it."""
        body = _packed(record)
        if self._size + len(body) > self._limit:
            return False
        path = self._directory / f"{self._next:012d}{_SUFFIX}"
        try:
            _write(path, body)
        except OSError as error:
            log.error("spill.failed", error=str(error))
            path.with_suffix(_UNFINISHED).unlink(missing_ok=True)
            return False
        self._next += 1
        self._files.append(path)
        self._size += len(body)
        return True

    def oldest(self) -> OutgoingRecord | None:
        """The record to send next; files that do not read are put aside."""
        while self._files:
            try:
                return _unpacked(self._files[0].read_bytes())
            except (OSError, ValueError, KeyError) as error:
                log.error("spill.unreadable", path=str(self._files[0]), error=str(error))
                self.drop_oldest()
        return None

    def drop_oldest(self) -> None:
        """The oldest record has been sent."""
        path = self._files.pop(0)
        self._size -= path.stat().st_size if path.exists() else 0
        path.unlink(missing_ok=True)


def _packed(record: OutgoingRecord) -> bytes:
    head = {"topic": record.topic, "key": record.key, "headers": dict(record.headers)}
    return json.dumps(head).encode() + b"\n" + record.value


def _unpacked(body: bytes) -> OutgoingRecord:
    line, separator, value = body.partition(b"\n")
    if not separator:
        raise ValueError("no head")
    head = json.loads(line)
    return OutgoingRecord(head["topic"], head["key"], head["headers"], value)


def _write(path: Path, body: bytes) -> None:
    temporary = path.with_suffix(_UNFINISHED)
    with temporary.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
