"""The artifact proxy keeps to its own paths."""

import shutil
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager

import httpx
import pytest

from loopwright_common.storage.filesystem import FilesystemStore
from tests.registry.builders import FILES, call, packaged_run, register, send, upload
from tests.registry.conftest import LARGEST_UPLOAD

HOSTILE = [
    "%2e%2e/%2e%2e/etc/passwd",
    "0/" + "n" * 201,
    "0/" + "%C3%A9" * 101,
    "0/%2e%2e/1/file",
    "0/a%252e%252e/../b%2f..%2fc",
    "0/%252e%252e/file",
    "0/%25252e%25252e/file",
    "%2fetc/passwd",
    "0//file",
    "0/%2e/file",
    "0/file%23fragment",
    "0/file%3fquery",
    "0/a%5c..%5cb",
    "C%3A/file",
    "0/nul%00byte",
]


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
async def test_a_path_that_could_leave_its_root_is_refused(
    client: httpx.AsyncClient, method: str
) -> None:
    refusals = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
    for path in HOSTILE:
        answer = await client.request(method, f"{FILES}/{path}")

        assert answer.status_code in (400, 404), (path, answer.text)
        assert answer.json()["error_code"] in refusals, path


@pytest.mark.parametrize("path", ["../..", "/etc", "0/../1", "%2e%2e", "a#b", "\\\\host\\share"])
async def test_listing_cannot_leave_the_root_either(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(FILES, params={"path": path})

    assert answer.status_code == 400
    assert "Invalid path" in answer.json()["message"]


async def test_files_come_back_as_they_were_with_safe_headers(client: httpx.AsyncClient) -> None:
    content = bytes(range(256)) * 5000
    await upload(client, "0/r/artifacts/page.html", content)

    answer = await client.get(f"{FILES}/0/r/artifacts/page.html")

    assert answer.content == content
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_listing_is_relative_and_leaves_out_the_size_of_directories(
    client: httpx.AsyncClient,
) -> None:
    for path in ("a.txt", "deep/b.txt", "deep/er/c.txt", "deeper.txt"):
        await upload(client, f"0/r/artifacts/{path}", "x")

    root = (await client.get(FILES, params={"path": "0/r/artifacts"})).json()
    deep = (await client.get(FILES, params={"path": "0/r/artifacts/deep/"})).json()

    assert root["files"] == [
        {"path": "a.txt", "is_dir": False, "file_size": 1},
        {"path": "deep", "is_dir": True},
        {"path": "deeper.txt", "is_dir": False, "file_size": 1},
    ]
    assert [entry["path"] for entry in deep["files"]] == ["b.txt", "er"]
    assert (await client.get(FILES, params={"path": "nowhere"})).json() == {}


async def test_a_damaged_file_is_never_given_out_as_good(
    client: httpx.AsyncClient, store: FilesystemStore
) -> None:
    run_id = await packaged_run(client)
    await register(client, run_id)
    version = (await client.get("/v1/models/m/versions/1")).json()
    blob = await store.put(f"bytes of {run_id}".encode())
    (store._root / store.location(blob.digest)).write_text("tampered")

    found = (await client.get("/v1/models/m/versions/1/verify")).json()

    assert (found["verified"], found["digest"]) == (False, version["digest"])
    assert "model.skops" in found["problems"][0]


async def test_a_sealed_package_cannot_be_written(client: httpx.AsyncClient) -> None:
    for method in ("PUT", "DELETE"):
        answer = await client.request(method, f"{FILES}/packages/abc/MLmodel")

        assert answer.status_code == 403
        assert "never changes" in answer.json()["message"]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_file_over_the_limit_is_refused_and_nothing_of_it_is_kept(
    client: httpx.AsyncClient, store: FilesystemStore, streamed: bool
) -> None:
    content = b"x" * (LARGEST_UPLOAD + 1)

    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(content), 1 << 20):
            yield content[start : start + (1 << 20)]

    body = chunks() if streamed else content
    answer = await client.put(f"{FILES}/0/r/artifacts/big.bin", content=body)

    assert answer.status_code == 413
    assert "LOOPWRIGHT_REGISTRY_LARGEST_UPLOAD" in answer.json()["message"]
    assert [path for path in store._root.rglob("*") if path.is_file()] == []
    assert (await client.get(FILES, params={"path": "0/r/artifacts"})).json() == {}


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b/c", "a/b"), ("a/b/c", "a")])
async def test_a_path_is_either_a_file_or_a_directory(
    client: httpx.AsyncClient, first: str, second: str
) -> None:
    await upload(client, f"0/r/artifacts/{first}", "x")

    answer = await client.put(f"{FILES}/0/r/artifacts/{second}", content=b"y")

    assert answer.status_code == 409
    assert "choose another path" in answer.json()["message"]
    await upload(client, f"0/r/artifacts/{first}", "z")


@contextmanager
def away(store: FilesystemStore) -> Generator[None, None, None]:
    """Nothing can be written: a file lies where new bytes are collected."""
    incoming = store._root / "incoming"
    aside = incoming.rename(store._root / "aside")
    incoming.write_text("")
    yield
    incoming.unlink()
    aside.rename(incoming)


async def test_while_the_store_is_away_uploads_wait_and_nothing_is_half_done(
    client: httpx.AsyncClient, store: FilesystemStore
) -> None:
    run_id = await packaged_run(client)
    at = f"{FILES}/0/{run_id}/artifacts/late.txt"
    with away(store):
        uploaded = await client.put(at, content=b"x")
        await call(client, "POST", "registered-models/create", name="m")
        registered = await send(
            client, "POST", "model-versions/create", name="m", source=f"runs:/{run_id}/package"
        )
        unready = await client.get("/readyz")
    ready = await client.get("/readyz")

    for answer in (uploaded, registered):
        assert answer.status_code == 503
        assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
        assert int(answer.headers["retry-after"]) > 0
    assert unready.status_code == 503
    assert "artifact store" in unready.json()["checks"]["artifacts"]
    assert ready.json()["checks"]["artifacts"] == "ok"
    assert (await client.get(at)).status_code == 404
    assert (await client.get("/v1/models/m/versions")).json()["items"] == []
    assert (await register(client, run_id))["status"] == "READY"


async def test_a_file_that_the_store_lost_is_told_before_anything_is_sent(
    client: httpx.AsyncClient, store: FilesystemStore
) -> None:
    await upload(client, "0/r/artifacts/file", "x")
    shutil.rmtree(store._root / "sha256")

    answer = await client.get(f"{FILES}/0/r/artifacts/file")

    assert answer.status_code == 404
