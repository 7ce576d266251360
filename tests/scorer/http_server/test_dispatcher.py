"""A protocol is added by one class: its paths, and those that take the fast path, are its own."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.service import Service
from loopwright_common.web.app import create_app
from loopwright_common.web.guard import RequestGuard
from loopwright_scorer.http_server.dispatcher import ProtocolRouter, refusing_as
from loopwright_scorer.http_server.fast_path import FastPathProtocol
from loopwright_scorer.protocols.base import FastHandler, InferenceProtocol, Reply
from loopwright_scorer.protocols.request import Headers, HttpRequest, InferenceLimits
from tests.scorer.listening import Client, listening

ECHO = "/echo/models/bank:say"


class EchoProtocol:
    """Answers what it is sent: at once, unless the body asks it to wait."""

    fast_endings: Sequence[str] = (":say",)

    def __init__(self) -> None:
        self.slow = 0
        """How many went through ASGI."""

    def claims(self, path: str) -> bool:
        return path.startswith("/echo/")

    def fast_handler(self, path: str, headers: Headers) -> FastHandler | None:  # noqa: ARG002
        return lambda body: None if body == b"wait" else Reply(200, body)

    async def reply(self, request: HttpRequest) -> Reply:
        self.slow += 1
        return Reply(200, b"slow: " + await request.body())

    def refuse(self, status: int, reason: str) -> Reply:
        return Reply(status, b"refused: " + reason.encode())


@asynccontextmanager
async def client_of(protocol: InferenceProtocol) -> AsyncGenerator[Client]:
    metrics = Metrics()
    guard = RequestGuard(refuse=refusing_as([protocol]))
    app = create_app("echo", metrics, {}, guard)
    service = Service(
        name="echo",
        app=ProtocolRouter([protocol], app, InferenceLimits(), guard),
        host="127.0.0.1",
        port=0,
        metrics=metrics,
        guard=guard,
        http=FastPathProtocol,
    )
    async with listening(service) as there:
        yield await there.connect()


async def test_a_protocol_of_ones_own_answers_on_the_fast_path() -> None:
    protocol = EchoProtocol()
    async with client_of(protocol) as client:
        answers = [await client.ask(body, path=ECHO) for body in (b"a", b"bb", b"bb", b"bb")]

    assert [answer.body for answer in answers] == [b"a", b"bb", b"bb", b"bb"]
    assert protocol.slow == 0


async def test_what_has_to_wait_goes_through_asgi() -> None:
    protocol = EchoProtocol()
    async with client_of(protocol) as client:
        bodies = (b"kept", b"kept", b"wait", b"kept", b"wait")
        answers = [await client.ask(body, path=ECHO) for body in bodies]

    assert [answer.body for answer in answers] == [
        *(b"kept", b"kept", b"slow: wait", b"kept", b"slow: wait"),
    ]


async def test_a_path_with_another_ending_is_never_fast() -> None:
    protocol = EchoProtocol()
    async with client_of(protocol) as client:
        answer = await client.ask(b"a", path="/echo/models/bank")

    assert (answer.body, protocol.slow) == (b"slow: a", 1)
