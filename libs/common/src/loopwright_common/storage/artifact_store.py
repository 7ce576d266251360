"""The artifact store: bytes by their sha256, verified on every read."""

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from loopwright_common.errors import CorruptError, InvalidError

CHUNK = 1 << 20
PREFIX = "sha256:"


class Blob(NamedTuple):
    """Stored bytes: `digest` is `sha256:<64 hex>`, `size` in bytes."""

    digest: str
    size: int


class ArtifactStore(Protocol):
    """Content-addressed; the same bytes are kept once, and nothing half-written is ever seen.

    InvalidError for what is no digest, UnavailableError for what may pass, such as a bucket away.
    """

    async def put(self, content: bytes | Path | AsyncIterable[bytes]) -> Blob:
        """Keep it durably; UnavailableError (such as a full disk) leaves nothing behind."""
        ...

    async def get(self, digest: str) -> bytes:
        """NotFoundError when absent, CorruptError when the bytes no longer match."""
        ...

    async def fetch(self, digest: str, target: Path) -> None:
        """Write the verified bytes to `target`, whole or not at all; errors as `get`."""
        ...

    def stream(self, digest: str) -> AsyncIterator[bytes]:
        """Chunks, verified while streaming: CorruptError comes before the last chunk is given.

        NotFoundError when absent.
        """
        ...

    async def size(self, digest: str) -> int | None:
        """Size in bytes, or None when absent."""
        ...

    def location(self, digest: str) -> str:
        """Where the bytes lie, relative to the store."""
        ...

    async def check(self) -> None:
        """UnavailableError with the reason when nothing can be kept in it now."""
        ...


def digest_of(content: bytes) -> str:
    """`sha256:` and the 64 hex digits of the content's SHA-256."""
    return PREFIX + hashlib.sha256(content).hexdigest()


def hex_of(digest: str) -> str:
    """The 64 hex characters of a digest; InvalidError for anything else."""
    name = digest.removeprefix(PREFIX)
    if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        raise InvalidError(f"{digest!r} is no digest: give sha256: and 64 hex digits")
    return name


def location_of(digest: str) -> str:
    """Where a store keeps the bytes, relative to itself; InvalidError for what is no digest."""
    name = hex_of(digest)
    return f"sha256/{name[:2]}/{name}"


async def read_chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    """The rest of an open file."""
    while chunk := await asyncio.to_thread(file.read, CHUNK):
        yield chunk


async def chunks_of(content: bytes | Path | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The content in chunks, those of a file of 1 MiB."""
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, Path):
        with content.open("rb") as file:
            async for chunk in read_chunks(file):
                yield chunk
    else:
        async for chunk in content:
            yield chunk


def verify(digest: str, seen: str) -> None:
    """CorruptError unless the hex digits `seen` are those of the digest."""
    if hex_of(digest) != seen:
        raise CorruptError(f"artifact {digest} is damaged: its bytes have sha256:{seen}")
