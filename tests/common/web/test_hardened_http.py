"""A server of any service, to clients that are slow, wordy, many or in a hurry."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.service import Service
from loopwright_common.settings import ServiceSettings
from loopwright_common.web.app import create_app
from loopwright_common.web.guard import RequestGuard
from tests.scorer.listening import Listener, listening

HEAD = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"
ASK = HEAD + b"\r\n"


class ProbeSettings(ServiceSettings):
    service = "probe"
    port: int = 0


@asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch, **changed: object) -> AsyncGenerator[Listener]:
    """A service with settings as its environment gives them."""
    for name, value in changed.items():
        monkeypatch.setenv(f"LOOPWRIGHT_PROBE_{name.upper()}", str(value))
    metrics, guard = Metrics(), RequestGuard.of(ProbeSettings())
    app = create_app("probe", metrics, {}, guard)
    service = Service(name="probe", app=app, host="127.0.0.1", port=0, metrics=metrics, guard=guard)
    async with listening(service) as there:
        yield there


async def test_a_client_in_a_hurry_is_told_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(monkeypatch, request_rate=0.1) as there:
        client = await there.connect()
        client.writer.write(ASK)
        assert (await client.answer()).status == 200
        client.writer.write(ASK)
        refused = await client.answer()

    assert refused.status == 429
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["content-type"] == "application/problem+json"
    assert "LOOPWRIGHT_REQUEST_RATE" in refused.json()["detail"]


async def test_a_head_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as there:
        client = await there.connect()
        client.writer.write(HEAD + b"x-long: " + b"x" * (1 << 20))
        assert (await client.answer()).status == 431


@pytest.mark.parametrize("begun", [b"", HEAD, HEAD + b"content-length: 9\r\n\r\n{"])
async def test_what_is_half_sent_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    async with serving(monkeypatch, body_timeout=0.3) as there:
        client = await there.connect()
        client.writer.write(begun)
        assert (await client.end()).startswith(b"HTTP/1.1 408")


async def test_a_connection_too_many_is_told_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, max_connections=1) as there:
        first, second = await there.connect(), await there.connect()
        first.writer.write(ASK)
        assert (await first.answer()).status == 200
        second.writer.write(ASK)
        refused = await second.answer()

    assert refused.status == 503
    assert "LOOPWRIGHT_PROBE_MAX_CONNECTIONS" in refused.json()["detail"]


async def test_a_request_without_a_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as there:
        client = await there.connect()
        client.writer.write(b"GET /livez HTTP/1.0\r\n\r\n")
        assert (await client.end()).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    ("setting", "value", "of"),
    [
        ("largest_body", 2048, lambda guard: guard.limits.largest_body),
        ("request_buffer", 4096, lambda guard: guard.limits.memory.available),
        ("body_timeout", 7.0, lambda guard: guard.limits.body_seconds),
    ],
)
def test_a_limit_is_what_its_setting_says(
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: float,
    of: Callable[[RequestGuard], float],
) -> None:
    monkeypatch.setenv(f"LOOPWRIGHT_{setting.upper()}", str(value))

    assert of(RequestGuard.of(ProbeSettings())) == value


async def test_pages_are_answered_beside_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, body_timeout=0.5, max_connections=50) as there:
        clients = [await there.connect() for _ in range(30)]
        for client in clients:
            client.writer.write(HEAD)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{there.port}") as http:
            answers = [await http.get("/livez") for _ in range(20)]
        ends = await asyncio.gather(*(client.end() for client in clients))

    assert {answer.status_code for answer in answers} == {200}
    assert all(end.startswith(b"HTTP/1.1 408") for end in ends)
