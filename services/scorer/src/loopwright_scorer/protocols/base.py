"""What an inference protocol over HTTP is, and what its calls have in common."""

from typing import Protocol

from loopwright_scorer.inference.codec import InferenceCall, InferenceResponse
from loopwright_scorer.protocols.model_address import ModelAddress
from loopwright_scorer.protocols.request import (
    PREDICTION_ID,
    REQUEST_ID,
    ROUTING_KEY,
    FastHandler,
    Headers,
    HttpRequest,
    Reply,
)


class InferenceProtocol(Protocol):
    """An inference protocol over HTTP."""

    def claims(self, path: str) -> bool: ...

    def short(self, path: str, headers: Headers) -> FastHandler | None:
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


def with_id(answer: InferenceResponse[Reply]) -> Reply:
    """The answer under its prediction id."""
    return answer.content.also((PREDICTION_ID, answer.prediction_id.encode()))
