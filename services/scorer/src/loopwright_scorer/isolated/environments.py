"""The Python that a package runs on: the scorer's own where it has all, else one built with uv."""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO

from packaging.requirements import Requirement

from loopwright_scorer.isolated.environment_builder import build

_KEPT_SECONDS = 24 * 3600


class Place:
    """Where a package runs; the environment is not pruned before it is left."""

    def __init__(self, python: Path, held: IO[bytes] | None = None) -> None:
        self.python = python
        self._held = held

    def leave(self) -> None:
        if self._held is not None:
            self._held.close()


class Environments:
    """Environments by digest of what they hold; several processes may share the directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def place(self, requirements: Sequence[str], python: str | None) -> Place:
        """Ready to run on. InvalidError says which requirement cannot be had.

        UnavailableError while no package index can be asked for them.
        """
        if not lacking(requirements, python):
            return Place(Path(sys.executable))
        wanted = python or _own_python()
        told = "\n".join([f"python {wanted}", *sorted(requirements)])
        digest = hashlib.sha256(told.encode()).hexdigest()[:32]
        built = self.directory / digest
        self.directory.mkdir(parents=True, exist_ok=True)
        held = (self.directory / f"{digest}.lock").open("ab")
        with _released_on_error(held):
            if not built.is_dir():
                fcntl.flock(held, fcntl.LOCK_EX)
                if not built.is_dir():
                    build(built, requirements, wanted)
            fcntl.flock(held, fcntl.LOCK_SH)
            os.utime(held.name)
        if not built.is_dir():  # pruned before it was held
            held.close()
            return self.place(requirements, python)
        return Place(built / "bin" / "python", held)

    def prune(self, kept_seconds: float = _KEPT_SECONDS) -> None:
        """Remove what nobody runs on, and nobody has for a day."""
        for lock in self.directory.glob("*.lock"):
            with lock.open("ab") as held:
                if time.time() - lock.stat().st_mtime < kept_seconds or not _is_free(held):
                    continue
                for left in self.directory.glob(f"{lock.stem}*"):
                    if left.is_dir():
                        shutil.rmtree(left, ignore_errors=True)


def lacking(requirements: Sequence[str], python: str | None) -> list[str]:
    """What this process's own Python does not have of them."""
    missing = [] if python in (None, _own_python()) else [f"python {python}"]
    return missing + [one for one in requirements if not _is_here(Requirement(one))]


def _is_here(wanted: Requirement) -> bool:
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return False
    return not wanted.extras and wanted.specifier.contains(version, prereleases=True)


def _own_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _is_free(held: IO[bytes]) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _released_on_error(held: IO[bytes]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        held.close()
        raise
