"""The directory of one system: held by one process, made by one engine."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from loopwright_common.errors import ConflictError, UnavailableError


class Engine(StrEnum):
    """What carries events and state."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"

    @property
    def described(self) -> str:
        if self is Engine.EMBEDDED:
            return "every service in one process, on SQLite"
        return "each service in a process of its own, on Apache Kafka and PostgreSQL"


@contextmanager
def locked(data_dir: Path, engine: Engine = Engine.EMBEDDED) -> Generator[None, None, None]:
    """Hold the directory; ConflictError when another process holds it or another engine made it."""
    with _lock_file(data_dir) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"{data_dir} is in use by another `loopwright up`; stop it or give --data-dir"
            ) from None
        made_by = engine_of(data_dir) or engine
        if made_by is not engine:
            raise ConflictError(
                f"{data_dir} was made by the engine {made_by}; "
                f"say --engine {made_by} or give another --data-dir"
            )
        _mark(data_dir).write_text(f"{engine}\n")
        yield


def engine_of(data_dir: Path) -> Engine | None:
    """The engine that made the directory, or None when none has yet."""
    mark = _mark(data_dir)
    return Engine(mark.read_text().strip()) if mark.exists() else None


def _mark(data_dir: Path) -> Path:
    return data_dir / "engine"


def _lock_file(data_dir: Path) -> TextIO:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return (data_dir / "lock").open("w")
    except OSError as error:
        raise UnavailableError(
            f"{data_dir} cannot hold the data ({error.strerror}); give another --data-dir"
        ) from None
