"""What every artifact store promises."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loopwright_common.artifacts import ArtifactStore, DirectoryStore, digest_of
from loopwright_common.errors import CorruptError, InvalidError, NotFoundError, UnavailableError
from loopwright_common.package import (
    PackageFile,
    fetch_package,
    manifest_of,
    package_digest,
    store_package,
)


async def test_bytes_are_found_by_their_digest(store: ArtifactStore) -> None:
    blob = await store.put(b"hello")

    assert blob.digest == digest_of(b"hello")
    assert await store.get(blob.digest) == b"hello"
    assert await store.size(blob.digest) == blob.size == 5
    assert b"".join([chunk async for chunk in store.stream(blob.digest)]) == b"hello"


async def test_damaged_bytes_are_never_given(store: ArtifactStore, tmp_path: Path) -> None:
    blob = await store.put(b"hello")
    (tmp_path / "artifacts" / store.location(blob.digest)).write_bytes(b"jello")

    with pytest.raises(CorruptError, match="damaged"):
        await store.get(blob.digest)
    with pytest.raises(CorruptError):
        await store.fetch(blob.digest, tmp_path / "copy")
    with pytest.raises(CorruptError):
        [chunk async for chunk in store.stream(blob.digest)]
    assert not (tmp_path / "copy").exists()


async def test_an_upload_that_breaks_off_leaves_nothing(
    store: ArtifactStore, tmp_path: Path
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(UnavailableError):
        await store.put(broken())
    assert [p for p in (tmp_path / "artifacts").rglob("*") if p.is_file()] == []


async def test_keeping_the_bytes_again_heals_damaged_ones(
    store: ArtifactStore, tmp_path: Path
) -> None:
    blob = await store.put(b"hello")
    (tmp_path / "artifacts" / store.location(blob.digest)).write_bytes(b"jello")

    assert await store.put(b"hello") == blob
    assert await store.get(blob.digest) == b"hello"


async def test_what_killed_uploads_left_is_swept_after_a_day(tmp_path: Path) -> None:
    incoming = tmp_path / "artifacts" / "incoming"
    incoming.mkdir(parents=True)
    for name in ("old", "new"):
        (incoming / name).write_bytes(b"half")
    os.utime(incoming / "old", (0, 0))

    DirectoryStore(tmp_path / "artifacts")

    assert [path.name for path in incoming.iterdir()] == ["new"]


async def test_equal_uploads_at_once_are_kept_once(store: ArtifactStore) -> None:
    blobs = await asyncio.gather(*(store.put(b"same") for _ in range(8)))
    assert len(set(blobs)) == 1


async def test_what_is_not_there_or_no_digest_is_said(store: ArtifactStore) -> None:
    with pytest.raises(NotFoundError):
        await store.get(digest_of(b"never kept"))
    with pytest.raises(InvalidError, match="64 hex digits"):
        await store.get("../../etc/passwd")


async def test_a_package_comes_back_as_it_went_in(store: DirectoryStore, tmp_path: Path) -> None:
    source = tmp_path / "package"
    (source / "deep").mkdir(parents=True)
    (source / "MLmodel").write_text("flavors: {}\n")
    (source / "deep" / "model.bin").write_bytes(b"\x00\x01")

    digest = await store_package(store, source)
    files = await fetch_package(store, digest, tmp_path / "back")

    assert digest == package_digest(files)
    assert (tmp_path / "back" / "deep" / "model.bin").read_bytes() == b"\x00\x01"


@pytest.mark.parametrize("path", ["../up", "/abs", "a/../../b", "", "a//b", "./a"])
def test_a_path_that_leaves_the_package_is_refused(path: str) -> None:
    with pytest.raises(InvalidError, match="plain relative path"):
        manifest_of([PackageFile(path, digest_of(b""), 0)])
