"""The artifact store in a local directory."""

import asyncio
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from loopwright_common.errors import NotFoundError, UnavailableError, without_paths
from loopwright_common.failpoints import failpoint
from loopwright_common.files.private import make_private
from loopwright_common.storage.artifact_store import (
    CHUNK,
    PREFIX,
    Blob,
    chunks_of,
    location_of,
    verify,
)

_ABANDONED_SECONDS = 24 * 3600


class FilesystemStore:
    """`ArtifactStore` in a directory: temporary name, fsync, rename, fsync of the directory."""

    def __init__(self, root: Path) -> None:
        make_private(root)
        self._root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        _sweep(self._incoming)

    async def put(self, content: bytes | Path | AsyncIterable[bytes]) -> Blob:
        try:
            blob = await self._put(content)
        except OSError as error:
            raise UnavailableError(f"artifact store: {without_paths(error)}") from error
        failpoint("artifacts.kept")
        return blob

    async def get(self, digest: str) -> bytes:
        return await asyncio.to_thread(self._read, digest)

    async def fetch(self, digest: str, target: Path) -> None:
        try:
            await asyncio.to_thread(self._copy, digest, target)
        except OSError as error:
            raise UnavailableError(f"artifact store: {without_paths(error)}") from error

    async def stream(self, digest: str) -> AsyncIterator[bytes]:
        path = self._existing(digest)
        seen = hashlib.sha256()
        held = b""
        with path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                seen.update(chunk)
                if held:
                    yield held
                held = chunk
        verify(digest, seen.hexdigest())
        yield held

    async def size(self, digest: str) -> int | None:
        path = self._path(digest)
        return path.stat().st_size if path.exists() else None

    def location(self, digest: str) -> str:
        return location_of(digest)

    async def check(self) -> None:
        try:
            await asyncio.to_thread(self._try_to_write)
        except OSError as error:
            raise UnavailableError(f"artifact store: {without_paths(error)}") from error

    def _try_to_write(self) -> None:
        with tempfile.TemporaryFile(dir=self._incoming) as file:
            file.write(b"x" * 4096)
            file.flush()

    async def _put(self, content: bytes | Path | AsyncIterable[bytes]) -> Blob:
        handle, name = tempfile.mkstemp(dir=self._incoming)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                digest, size = await self._write(content, file)
            failpoint("artifacts.written")
            await asyncio.to_thread(self._keep, temporary, digest)
        finally:
            await asyncio.to_thread(temporary.unlink, missing_ok=True)
        return Blob(PREFIX + digest, size)

    async def _write(
        self, content: bytes | Path | AsyncIterable[bytes], file: BinaryIO
    ) -> tuple[str, int]:
        seen, size = hashlib.sha256(), 0
        async for chunk in chunks_of(content):
            seen.update(chunk)
            size += len(chunk)
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(_sync, file)
        return seen.hexdigest(), size

    def _keep(self, temporary: Path, name: str) -> None:
        """Also where the bytes are kept already: what lies there may be damaged."""
        target = self._path(name)
        new = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
        _sync_directory(target.parent)
        if new:
            _sync_directory(target.parent.parent)

    def _read(self, digest: str) -> bytes:
        content = self._existing(digest).read_bytes()
        verify(digest, hashlib.sha256(content).hexdigest())
        return content

    def _copy(self, digest: str, target: Path) -> None:
        source = self._existing(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent)
        try:
            seen = hashlib.sha256()
            with source.open("rb") as reader, os.fdopen(handle, "wb") as writer:
                while chunk := reader.read(CHUNK):
                    seen.update(chunk)
                    writer.write(chunk)
            verify(digest, seen.hexdigest())
            shutil.move(name, target)
        finally:
            Path(name).unlink(missing_ok=True)

    def _existing(self, digest: str) -> Path:
        path = self._path(digest)
        if not path.exists():
            raise NotFoundError(f"no artifact {digest}")
        return path

    def _path(self, digest: str) -> Path:
        return self._root / location_of(digest)


def _sweep(incoming: Path) -> None:
    """Remove what processes that were killed have left."""
    oldest = time.time() - _ABANDONED_SECONDS
    for path in incoming.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
