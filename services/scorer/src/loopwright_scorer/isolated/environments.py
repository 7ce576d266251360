"""The Python that a package runs on: the scorer's own where it has all, else one built with uv."""

import fcntl
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO

from packaging.requirements import Requirement

from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.files.removal import remove_tree
from loopwright_common.sandbox import Sandbox
from loopwright_scorer.isolated.environment_builder import build_environment

_KEPT_SECONDS = 24 * 3600


class EnvironmentLease:
    """A Python that a package runs on, whose environment is not pruned before it is released."""

    def __init__(self, python: Path, held: IO[bytes] | None = None) -> None:
        self.python = python
        self._held = held

    @property
    def paths(self) -> tuple[Path, ...]:
        """What the Python is made of, where it is another than ours: environment and base."""
        if self.python == Path(sys.executable):
            return ()
        return self.python.parents[1], self.python.resolve().parents[1]

    def open_to_others(self) -> None:
        """So that users of the sandbox's can run on it: what we keep is closed to them."""
        for path in self.paths:
            if path.is_relative_to(self.paths[0].parent):  # else it is the system's
                open_to_others(path)

    def release(self) -> None:
        if self._held is not None:
            self._held.close()


class EnvironmentCache:
    """Virtual environments by digest of their requirements; processes may share the directory."""

    def __init__(self, directory: Path, sandbox: Sandbox, access: IndexAccess) -> None:
        """What builds an environment in `directory` runs in the sandbox, and has this access."""
        self.directory = directory
        self._sandbox = sandbox
        self._access = access

    def acquire(self, requirements: Sequence[str], python: str | None) -> EnvironmentLease:
        """An environment with these requirements, built where there is none.

        Raises InvalidError that names the requirement that cannot be had, and UnavailableError
        while no package index can be reached.
        """
        if not missing_requirements(requirements, python):
            return EnvironmentLease(Path(sys.executable))
        wanted = python or _own_python()
        identity = "\n".join([f"python {wanted}", *sorted(requirements)])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
        built = self.directory / digest
        self.directory.mkdir(parents=True, exist_ok=True)
        held = (self.directory / f"{digest}.lock").open("ab")
        with _released_on_error(held):
            if not built.is_dir():
                fcntl.flock(held, fcntl.LOCK_EX)
                if not built.is_dir():
                    base = _base_python(wanted)
                    build_environment(built, requirements, base, self._sandbox, self._access)
            fcntl.flock(held, fcntl.LOCK_SH)
            os.utime(held.name)
        if not built.is_dir():  # pruned before it was held
            held.close()
            return self.acquire(requirements, python)
        return EnvironmentLease(built / "bin" / "python", held)

    def prune(self, kept_seconds: float = _KEPT_SECONDS) -> None:
        """Remove environments that nobody runs on, and nobody has for `kept_seconds`."""
        for lock in self.directory.glob("*.lock"):
            with lock.open("ab") as held:
                if time.time() - lock.stat().st_mtime < kept_seconds or not _is_unlocked(held):
                    continue
                for left in self.directory.glob(f"{lock.stem}*"):
                    if left.is_dir():
                        remove_tree(left)


def open_to_others(directory: Path) -> None:
    """Let every user read what lies in a directory that is closed; those above it stay as they are.

    A service closes all that it keeps when it starts.
    """
    for path in (directory, *directory.rglob("*")):
        mode = path.lstat().st_mode
        if not mode & stat.S_IROTH and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) | (0o055 if mode & stat.S_IXUSR else 0o044))


def missing_requirements(requirements: Sequence[str], python: str | None) -> list[str]:
    """Those of the requirements that this process's own Python does not satisfy."""
    missing = [] if python in (None, _own_python()) else [f"python {python}"]
    return missing + [one for one in requirements if not _is_installed(Requirement(one))]


def _is_installed(wanted: Requirement) -> bool:
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return False
    return not wanted.extras and wanted.specifier.contains(version, prereleases=True)


def _base_python(wanted: str) -> str:
    """Ours where it is of that version, which is sure to be there."""
    return os.path.realpath(sys.executable) if wanted == _own_python() else wanted


def _own_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _is_unlocked(held: IO[bytes]) -> bool:
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
