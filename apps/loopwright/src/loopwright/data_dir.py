"""The directory of one system: held by one process, made by one engine."""

from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from loopwright_common.errors import ConflictError
from loopwright_common.process.directory_lock import exclusive_directory


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
    """Hold the directory; ConflictError when another process holds it or another engine made it.

    UnavailableError where it cannot be written.
    """
    with exclusive_directory(data_dir, "`loopwright up`", "stop it or give another --data-dir"):
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
