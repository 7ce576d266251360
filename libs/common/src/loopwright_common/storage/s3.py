"""The artifact store in a bucket that speaks S3.

Credentials, region and endpoint come from the usual AWS_* variables.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from obstore import exceptions
from obstore.store import S3Store as Bucket

from loopwright_common.errors import NotFoundError, UnavailableError, without_paths
from loopwright_common.failpoints import failpoint
from loopwright_common.storage.artifact_store import (
    CHUNK,
    PREFIX,
    Blob,
    chunks_of,
    location_of,
    verify,
)

_PATIENCE = timedelta(seconds=10)


class S3Store:
    """`ArtifactStore` in a bucket; an object appears whole or not at all, as S3 promises."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @classmethod
    def at(cls, address: str) -> "S3Store":
        """The store at `BUCKET/PREFIX`."""
        name, _, prefix = address.partition("/")
        return cls(
            Bucket(
                name,
                prefix=prefix.strip("/") or None,
                client_options={
                    "allow_http": True,
                    "connect_timeout": timedelta(seconds=3),
                    "timeout": timedelta(minutes=5),
                },
                retry_config={"max_retries": 3, "retry_timeout": _PATIENCE},
            )
        )

    async def put(self, content: bytes | Path | AsyncIterable[bytes]) -> Blob:
        """A stream is written to a local file first: its name follows from its bytes."""
        async with _faults(None):
            if isinstance(content, bytes):
                blob = Blob(PREFIX + hashlib.sha256(content).hexdigest(), len(content))
                await self._send(blob, content)
                return blob
            with tempfile.TemporaryDirectory() as directory:
                spooled = Path(directory) / "content"
                blob = await _spool(content, spooled)
                await self._send(blob, spooled)
                return blob

    async def get(self, digest: str) -> bytes:
        async with _faults(digest):
            answer = await obstore.get_async(self._bucket, location_of(digest))
            content = bytes(await answer.bytes_async())
        verify(digest, hashlib.sha256(content).hexdigest())
        return content

    async def fetch(self, digest: str, target: Path) -> None:
        async with _faults(digest):
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as directory:
                spooled = Path(directory) / "content"
                await _spool(self.stream(digest), spooled)
                await asyncio.to_thread(spooled.replace, target)

    async def stream(self, digest: str) -> AsyncIterator[bytes]:
        seen, held = hashlib.sha256(), b""
        async with _faults(digest):
            answer = await obstore.get_async(self._bucket, location_of(digest))
            async for chunk in answer.stream(min_chunk_size=CHUNK):
                if held:
                    yield held
                held = bytes(chunk)
                seen.update(held)
        verify(digest, seen.hexdigest())
        yield held

    async def size(self, digest: str) -> int | None:
        try:
            async with _faults(digest):
                return int((await obstore.head_async(self._bucket, location_of(digest)))["size"])
        except NotFoundError:
            return None

    def location(self, digest: str) -> str:
        return location_of(digest)

    async def check(self) -> None:
        """A look, no write: whether it may be written shows at the first upload."""
        async with _faults(None):
            await obstore.list_with_delimiter_async(self._bucket, "check")

    async def _send(self, blob: Blob, content: bytes | Path) -> None:
        failpoint("artifacts.written")
        await obstore.put_async(self._bucket, location_of(blob.digest), content)
        failpoint("artifacts.kept")


async def _spool(content: Path | AsyncIterable[bytes], target: Path) -> Blob:
    """Write the content to a file, and say what it is."""
    seen, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        async for chunk in chunks_of(content):
            seen.update(chunk)
            size += len(chunk)
            await asyncio.to_thread(file.write, chunk)
    return Blob(PREFIX + seen.hexdigest(), size)


@asynccontextmanager
async def _faults(digest: str | None) -> AsyncGenerator[None, None]:
    try:
        yield
    except (exceptions.BaseError, OSError) as error:
        if "NoSuchBucket" in str(error):
            raise UnavailableError(
                "artifact store: there is no such bucket; make it, or set LOOPWRIGHT_ARTIFACTS_URL"
            ) from error
        if digest and isinstance(error, FileNotFoundError | exceptions.NotFoundError):
            raise NotFoundError(f"no artifact {digest}") from error
        reason = without_paths(error) or type(error).__name__
        raise UnavailableError(f"artifact store: {reason.splitlines()[0]}") from error
