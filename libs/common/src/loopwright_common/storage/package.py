"""A version's package: a directory known by the sha256 of its manifest.

The manifest is canonical JSON, `{"files": [{"path", "sha256", "size"}, ...]}` sorted by path. It is
an artifact itself, so a package is found by the manifest's digest alone.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from loopwright_common.errors import CorruptError, InvalidError
from loopwright_common.files.beneath import Beneath, check_plain
from loopwright_common.names import has_control_characters, path_fault, shown
from loopwright_common.storage.artifact_store import ArtifactStore, digest_of, read_chunks


class PackageFile(NamedTuple):
    """One file: POSIX path within the package, digest `sha256:...`, size in bytes."""

    path: str
    digest: str
    size: int


def manifest_of(files: Sequence[PackageFile]) -> bytes:
    """The manifest's bytes; InvalidError for a path that leaves the package."""
    for file in files:
        _checked(file.path)
    entries = [
        {"path": file.path, "sha256": file.digest.removeprefix("sha256:"), "size": file.size}
        for file in sorted(files)
    ]
    return json.dumps({"files": entries}, separators=(",", ":"), sort_keys=True).encode()


def package_digest(files: Sequence[PackageFile]) -> str:
    """The package's identity: the digest of its manifest; InvalidError as `manifest_of`."""
    return digest_of(manifest_of(files))


def parse_manifest(manifest: bytes) -> list[PackageFile]:
    """The files a manifest lists; CorruptError when it is no manifest.

    InvalidError for a path that leaves the package.
    """
    try:
        entries = json.loads(manifest)["files"]
        return [
            PackageFile(_checked(e["path"]), f"sha256:{e['sha256']}", int(e["size"]))
            for e in entries
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"not a package manifest: {error}") from None


async def store_package(store: ArtifactStore, directory: Path | Beneath) -> str:
    """Keep every file and the manifest; returns the package's digest.

    InvalidError, which names it, for whatever is no plain file or directory; UnavailableError, as
    of a full disk, leaves no manifest behind.
    """
    if isinstance(directory, Path):
        with Beneath(directory) as opened:
            return await store_package(store, opened)
    files = []
    for path in await asyncio.to_thread(_plain_files, directory):
        with directory.open(path) as file:
            blob = await store.put(read_chunks(file))
        files.append(PackageFile(path, blob.digest, blob.size))
    return (await store.put(manifest_of(files))).digest


async def fetch_package(store: ArtifactStore, digest: str, directory: Path) -> list[PackageFile]:
    """Write the verified package into `directory`; CorruptError if any byte is not as sealed.

    NotFoundError where the store lacks the manifest or a file.
    """
    files = parse_manifest(await store.get(digest))
    fetches = [store.fetch(file.digest, directory / file.path) for file in files]
    # All have ended before one's error is told: none writes on into a directory given up.
    for outcome in await asyncio.gather(*fetches, return_exceptions=True):
        if outcome is not None:
            raise outcome
    return files


def _checked(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or str(pure) != path or path in ("", "."):
        raise InvalidError(f"{shown(path)!r}: give a plain relative path", field="path")
    if has_control_characters(path):
        raise InvalidError(f"{shown(path)}: give a name without control characters", field="path")
    if fault := path_fault(path):
        raise InvalidError(f"{shown(path)} {fault}; give a shorter path", field="path")
    return path


def _plain_files(directory: Beneath) -> list[str]:
    paths = []
    for path, kind in directory.walk():
        check_plain(path, kind)
        paths.append(_checked(path))
    return paths
