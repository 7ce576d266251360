"""Kafka's jars: fetched once for all programs of a user, checked, and from then on only read.

They lie in one folder of the user's cache. A fetch holds a file lock and works in a folder beside
it, which gets its name once every jar has the right checksum; whatever ends a fetch half-way, even
a `kill -9`, leaves nothing that is taken for complete, and the next fetch keeps the good jars.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import httpx

from loopwright.engines.program import require
from loopwright_common.errors import UnavailableError

VERSION = "4.4.0"
_BASE_URL = "LOOPWRIGHT_MAVEN_URL"
_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.5
_TIMEOUT = httpx.Timeout(30.0)
_CHUNK = 1 << 18
_MB = 1_000_000
_REPORT_SECONDS = 1.0

Report = Callable[[str], None]


def to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar as Maven names it, with the SHA-256 and the size in bytes that it must have."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Where it lies below a repository's base URL."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"

    def is_whole(self, file: Path) -> bool:
        """Whether this file is it, byte by byte."""
        if not (file.is_file() and file.stat().st_size == self.size):
            return False
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == self.sha256


def required_jars() -> Sequence[Jar]:
    """All that the broker needs, from the list in this package."""
    lines = files("loopwright.engines").joinpath("kafka_jars.txt").read_text().splitlines()
    return [_parsed(line) for line in lines if line and not line.startswith("#")]


def jars_directory() -> Path:
    """Where the jars lie once they were fetched, in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "loopwright" / f"kafka-{VERSION}"


def jars_are_here(jars: Sequence[Jar] | None = None) -> bool:
    """Whether every jar is in its place; asks nothing of the network and writes nothing.

    The folder got its name when all checksums were right, so that names and sizes suffice here.
    """
    directory = jars_directory()
    return all(
        (file := directory / jar.name).is_file() and file.stat().st_size == jar.size
        for jar in (required_jars() if jars is None else jars)
    )


def fetch_jars(jars: Sequence[Jar] | None = None, report: Report | None = None) -> Path:
    """The folder with all jars, fetched when they are not here; one process fetches, others wait.

    Raises UnavailableError when the repository does not give them, with what to do about it.
    """
    jars = required_jars() if jars is None else jars
    directory, report = jars_directory(), report or to_stderr
    if jars_are_here(jars):
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with locked(directory.with_name(f"{directory.name}.lock"), "fetching Kafka's jars", report):
            if not jars_are_here(jars):
                _replace(directory, jars, report)
    except OSError as error:
        raise UnavailableError(
            f"Kafka's jars cannot be kept in {directory} ({error}); "
            "set XDG_CACHE_HOME to a directory with space that this user may write"
        ) from None
    return directory


@contextmanager
def locked(path: Path, doing: str, report: Report = to_stderr) -> Generator[None, None, None]:
    """Keep other processes from doing the same; the lock ends with its process, however it ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"another process is {doing}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _parsed(line: str) -> Jar:
    name, sha256, size = line.split()
    group, artifact, version = name.split(":")
    return Jar(group, artifact, version, sha256, int(size))


def _replace(directory: Path, jars: Sequence[Jar], report: Report) -> None:
    """Fill a folder beside it and give it the name; good jars of an earlier try are kept."""
    partial = directory.with_name(f"{directory.name}.partial")
    partial.mkdir(exist_ok=True)
    _fill(partial, directory, jars, report)
    if directory.exists():
        shutil.rmtree(directory)
    partial.rename(directory)


def _fill(partial: Path, earlier: Path, jars: Sequence[Jar], report: Report) -> None:
    total = sum(jar.size for jar in jars) / _MB
    fetched, said_at = 0.0, 0.0
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as http:
        for number, jar in enumerate(jars, start=1):
            if not _found(jar, partial, earlier):
                _fetch(http, jar, partial)
            fetched += jar.size / _MB
            if number == len(jars) or time.monotonic() - said_at >= _REPORT_SECONDS:
                said_at = time.monotonic()
                progress = f"{number} of {len(jars)}, {fetched:.1f} of {total:.1f} MB"
                report(f"Kafka's jars: {progress} fetched")


def _found(jar: Jar, partial: Path, earlier: Path) -> bool:
    if jar.is_whole(partial / jar.name):
        return True
    if whole := jar.is_whole(earlier / jar.name):
        shutil.copyfile(earlier / jar.name, partial / jar.name)
    return whole


def _fetch(http: httpx.Client, jar: Jar, partial: Path) -> None:
    """Repeated when it is cut or damaged on the way."""
    url = f"{_repository().rstrip('/')}/{jar.path}"
    pause, why = _FIRST_PAUSE_SECONDS, ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(pause)
            pause *= 2
        try:
            _download(http, url, partial / jar.name)
        except httpx.HTTPStatusError as error:
            why = f"it answers {error.response.status_code}"
            if error.response.is_client_error:
                break
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
        else:
            if jar.is_whole(partial / jar.name):
                return
            why = "its checksum is not the expected one"
    raise UnavailableError(
        f"Kafka's jars are not here, and {url} was not fetched ({why}). "
        f"Fetch them where there is a network with `python -m loopwright.engines`, which says "
        f"where it keeps them, and copy that folder to {jars_directory()}; "
        f"or set {_BASE_URL} to a Maven repository that this machine reaches"
    )


def _repository() -> str:
    """Base URL of a Maven repository: the one that is set, else the public one that jgo names."""
    if given := os.environ.get(_BASE_URL):
        return given
    require("jgo")
    from jgo.constants import MAVEN_CENTRAL_URL

    return str(MAVEN_CENTRAL_URL)


def _download(http: httpx.Client, url: str, file: Path) -> None:
    with http.stream("GET", url) as response, file.open("wb") as opened:
        response.raise_for_status()
        for chunk in response.iter_bytes(_CHUNK):
            opened.write(chunk)
