"""Artifact paths: opaque names decoded once, never opened as files on this host."""

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote

from loopwright_common.errors import InvalidError, RefusedError
from loopwright_common.names import has_control_characters
from loopwright_common.storage import PackageFile

SCHEME = "mlflow-artifacts:"
PACKAGES = "packages"
"""The root under which sealed packages can be read, by their digest."""

_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST, _LONGEST_NAME = 1024, 200
"""Bytes: a file system takes 255 in a name, of which a copy under way needs some."""


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """An entry of a directory; `size` in bytes, None for a directory."""

    name: str
    size: int | None


def safe_path(path: str) -> str:
    """The path itself; InvalidError when it or any decoding of it could leave its root."""
    form = path
    for _ in range(8):
        _check(path, form)
        decoded = unquote(form)
        if decoded == form:
            return path
        form = decoded
    raise InvalidError(f"Invalid path: {path!r} is encoded over and over", field="path")


def uploadable_path(path: str) -> str:
    """RefusedError for a path within a sealed package."""
    if safe_path(path).split("/")[0] == PACKAGES:
        raise RefusedError(f"{path}: a sealed package never changes; upload elsewhere")
    return path


def artifact_path(uri: str) -> str:
    """The path in our store of a `mlflow-artifacts:/` URI; InvalidError for any other."""
    if not uri.startswith(f"{SCHEME}/") or uri.startswith(f"{SCHEME}//"):
        raise InvalidError(f"Invalid artifact location {uri!r}: give {SCHEME}/PATH")
    return safe_path(uri.removeprefix(f"{SCHEME}/").rstrip("/"))


def package_root(digest: str) -> str:
    """Where a sealed package is read."""
    return f"{PACKAGES}/{digest.removeprefix('sha256:')}"


def directory_entries(files: list[PackageFile]) -> list[DirectoryEntry]:
    """The direct children of the directory that the files' paths are relative to."""
    entries: dict[str, int | None] = {}
    for file in files:
        name, _, below = file.path.partition("/")
        entries[name] = None if below else file.size
    return [DirectoryEntry(name, size) for name, size in sorted(entries.items())]


def _check(path: str, form: str) -> None:
    parts = form.split("/")
    hostile = (
        not form
        or len(os.fsencode(path)) > _LONGEST
        or any(part in ("", ".", "..") or len(os.fsencode(part)) > _LONGEST_NAME for part in parts)
        or any(letter in form for letter in "\\#?")
        or has_control_characters(form)
        or _DRIVE.match(form)
    )
    if hostile:
        raise InvalidError(
            f"Invalid path: {path[:200]!r}; give a plain relative path", field="path"
        )
