"""What an inference protocol over HTTP is, and what its calls and answers have in common.

A protocol answers two ways: `reply` does what it takes, and a *fast handler* answers, in the
function that parses the last byte of a body, what needs no waiting (docs/decisions/0006).
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
from starlette.types import Send

from loopwright_scorer.inference.codec import InferenceCall, InferenceCodec, InferenceResponse
from loopwright_scorer.inference.service import InferenceService
from loopwright_scorer.protocols.model_address import ModelAddress
from loopwright_scorer.protocols.request import (
    REQUEST_ID,
    ROUTING_KEY,
    Header,
    Headers,
    HttpRequest,
)

PREDICTION_ID = b"loopwright-prediction-id"
_LARGE_BODY = 64 << 10
"""Bytes of an answer past which it is sent no faster than its client takes it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP; `content-length` is added where it is sent."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()

    def also(self, *headers: Header) -> "Reply":
        """This answer with more headers."""
        return Reply(self.status, self.body, (*self.headers, *headers))


FastHandler = Callable[[bytes], Reply | None]
"""Answers a body, where that needs no waiting; None: it has to go through ASGI."""


class InferenceProtocol(Protocol):
    """An inference protocol over HTTP: which paths are its own, and how it answers them."""

    @property
    def fast_endings(self) -> Sequence[str]:
        """How the paths end whose POSTs `fast_handler` may know how to answer."""
        ...

    def claims(self, path: str) -> bool:
        """Whether a path is this protocol's; of several that claim it the first has it."""
        ...

    def fast_handler(self, path: str, headers: Headers) -> FastHandler | None:
        """What answers inference calls with this head; None where only `reply` does.

        It is kept for all requests with the same head, so nothing else may be settled in it.
        """
        ...

    async def reply(self, request: HttpRequest) -> Reply:
        """Any LoopwrightError is answered as `refuse` says."""
        ...

    def refuse(self, status: int, reason: str) -> Reply:
        """The protocol's own shape of an error."""
        ...


def call_of(headers: Headers, address: ModelAddress, size: int) -> InferenceCall:
    """The call of a request for a model; `size` of its body in bytes."""
    key, request_id = headers.get(ROUTING_KEY), headers.get(REQUEST_ID)
    return InferenceCall(
        address.model,
        size,
        address.version,
        address.alias,
        key.decode("latin-1") if key else None,
        request_id.decode("latin-1") if request_id else None,
    )


def answering_inline(
    service: InferenceService,
    headers: Headers,
    address: ModelAddress,
    codec_of: Callable[[bytes], InferenceCodec[Reply]],
) -> FastHandler:
    """The fast handler of one model's calls; `codec_of` reads a body and writes its answer."""

    head = call_of(headers, address, 0)
    model, version, alias = head.model, head.version, head.alias
    routing_key, request_id = head.routing_key, head.request_id

    def answer(body: bytes) -> Reply | None:
        call = InferenceCall(model, len(body), version, alias, routing_key, request_id)
        response = service.infer_inline(call, codec_of(body))
        return with_id(response) if response else None

    return answer


def with_id(response: InferenceResponse[Reply]) -> Reply:
    """The answer under its prediction id."""
    return response.content.also((PREDICTION_ID, response.prediction_id.encode()))


def json_reply(content: object, status: int = 200) -> Reply:
    return Reply(status, orjson.dumps(content), ((b"content-type", b"application/json"),))


def compressed(reply: Reply) -> Reply:
    """The answer in gzip (RFC 1952), at its fastest."""
    packer = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
    body = packer.compress(reply.body) + packer.flush()
    return Reply(reply.status, body, (*reply.headers, (b"content-encoding", b"gzip")))


async def send_reply(send: Send, reply: Reply) -> None:
    length = (b"content-length", b"%d" % len(reply.body))
    headers = [*reply.headers, length]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if len(reply.body) > _LARGE_BODY:
        # The next message waits until the client has taken this one.
        await send({"type": "http.response.body", "body": reply.body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.body", "body": reply.body})
