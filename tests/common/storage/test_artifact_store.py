"""What every artifact store promises; run over each implementation."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loopwright_common.errors import CorruptError, InvalidError, NotFoundError, UnavailableError
from loopwright_common.storage.artifact_store import ArtifactStore, digest_of
from loopwright_common.storage.factory import open_store
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_common.storage.package import (
    PackageFile,
    fetch_package,
    manifest_of,
    package_digest,
    store_package,
)
from tests.stores import BUCKET, S3Server


class StoreUnderTest:
    """A store seen from behind: what lies in it, and a way to damage it."""

    def __init__(self, store: ArtifactStore, directory: Path, s3: S3Server | None) -> None:
        self.store = store
        self._directory = directory
        self._s3 = s3

    def objects(self) -> list[str]:
        if self._s3:
            return self._s3.keys()
        return [str(path) for path in self._directory.rglob("*") if path.is_file()]

    def overwrite(self, digest: str, content: bytes) -> None:
        location = self.store.location(digest)
        if self._s3:
            self._s3.put(f"prefix/{location}", content)
        else:
            (self._directory / location).write_bytes(content)


@pytest.fixture(params=["directory", "s3"])
def tested(request: pytest.FixtureRequest, tmp_path: Path) -> StoreUnderTest:
    if request.param == "directory":
        directory = tmp_path / "artifacts"
        return StoreUnderTest(FilesystemStore(directory), directory, None)
    server: S3Server = request.getfixturevalue("s3_server")
    return StoreUnderTest(open_store(f"s3://{BUCKET}/prefix"), tmp_path, server)


@pytest.fixture
def store(tested: StoreUnderTest) -> ArtifactStore:
    return tested.store


async def test_bytes_are_found_by_their_digest(store: ArtifactStore) -> None:
    blob = await store.put(b"hello")

    assert blob.digest == digest_of(b"hello")
    assert await store.get(blob.digest) == b"hello"
    assert await store.size(blob.digest) == blob.size == 5
    assert b"".join([chunk async for chunk in store.stream(blob.digest)]) == b"hello"


async def test_large_files_and_streams_come_back_whole(
    store: ArtifactStore, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(large := os.urandom(11 << 20))
    blob = await store.put(tmp_path / "large")
    assert blob.digest == digest_of(large)
    assert await store.put(store.stream(blob.digest)) == blob

    await store.fetch(blob.digest, tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == large


async def test_nothing_at_all_can_be_kept(store: ArtifactStore) -> None:
    blob = await store.put(b"")
    assert await store.get(blob.digest) == b""
    assert b"".join([chunk async for chunk in store.stream(blob.digest)]) == b""


async def test_damaged_bytes_are_never_given(tested: StoreUnderTest, tmp_path: Path) -> None:
    store = tested.store
    blob = await store.put(b"hello")
    tested.overwrite(blob.digest, b"jello")

    with pytest.raises(CorruptError, match="damaged"):
        await store.get(blob.digest)
    with pytest.raises(CorruptError):
        await store.fetch(blob.digest, tmp_path / "copy")
    with pytest.raises(CorruptError):
        [chunk async for chunk in store.stream(blob.digest)]
    assert not (tmp_path / "copy").exists()


async def test_an_upload_that_breaks_off_leaves_nothing(tested: StoreUnderTest) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(UnavailableError):
        await tested.store.put(broken())
    assert tested.objects() == []


async def test_keeping_the_bytes_again_heals_damaged_ones(tested: StoreUnderTest) -> None:
    blob = await tested.store.put(b"hello")
    tested.overwrite(blob.digest, b"jello")

    assert await tested.store.put(b"hello") == blob
    assert await tested.store.get(blob.digest) == b"hello"


async def test_what_killed_uploads_left_is_swept_after_a_day(tmp_path: Path) -> None:
    incoming = tmp_path / "artifacts" / "incoming"
    incoming.mkdir(parents=True)
    for name in ("old", "new"):
        (incoming / name).write_bytes(b"half")
    os.utime(incoming / "old", (0, 0))

    FilesystemStore(tmp_path / "artifacts")

    assert [path.name for path in incoming.iterdir()] == ["new"]


async def test_equal_uploads_at_once_are_kept_once(tested: StoreUnderTest) -> None:
    blobs = await asyncio.gather(*(tested.store.put(b"same") for _ in range(8)))
    assert len(set(blobs)) == len(tested.objects()) == 1


async def test_what_is_not_there_or_no_digest_is_said(store: ArtifactStore) -> None:
    with pytest.raises(NotFoundError):
        await store.get(digest_of(b"never kept"))
    with pytest.raises(InvalidError, match="64 hex digits"):
        await store.get("../../etc/passwd")
    assert await store.size(digest_of(b"never kept")) is None


async def test_a_package_comes_back_as_it_went_in(store: ArtifactStore, tmp_path: Path) -> None:
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


async def test_a_store_that_can_keep_things_says_so(store: ArtifactStore) -> None:
    await store.check()


async def test_a_bucket_that_is_missing_is_named(s3_server: S3Server) -> None:
    with pytest.raises(UnavailableError, match="no such bucket; make it, or set LOOPWRIGHT_ARTI"):
        await open_store("s3://another-bucket").put(b"hello")
    with pytest.raises(UnavailableError, match="no such bucket"):
        await open_store("s3://another-bucket").check()


async def test_a_store_that_is_away_is_a_passing_fault(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    away = open_store(f"s3://{BUCKET}")
    for call in (away.put(b"hello"), away.get(digest_of(b"hello")), away.check()):
        with pytest.raises(UnavailableError, match="artifact store"):
            await call


def test_an_address_of_no_store_is_refused() -> None:
    with pytest.raises(InvalidError, match="file:///DIRECTORY or s3://BUCKET"):
        open_store("ftp://somewhere")
