"""What goes wrong with a call, and the status that every inference protocol answers it with."""

from loopwright_common.errors import InvalidError, LoopwrightError, UnavailableError
from loopwright_common.web import app


class UnsupportedError(LoopwrightError):
    """A part of the protocol that is not served."""


class UnsupportedMediaTypeError(LoopwrightError):
    """A body of a type that the protocol does not take."""


class MethodNotAllowedError(LoopwrightError):
    """A path that is asked in another way; `allowed` is the method to use."""

    def __init__(self, allowed: str) -> None:
        super().__init__(f"use {allowed} here")
        self.allowed = allowed


class ModelFailedError(LoopwrightError):
    """The model raised, or answered with what is no number."""


class DeadlineExceededError(LoopwrightError):
    """The caller's time was up before the answer was computed."""


class SlowClientError(LoopwrightError):
    """The client took too long to send its request."""


class ClientDisconnectedError(Exception):
    """The caller went away before its request was whole, or before computing it began."""


class OverloadedError(UnavailableError):
    """More calls wait than the replica takes; the caller should come again in a second."""


RETRY_AFTER_SECONDS = 1
_STATUS: dict[type[LoopwrightError], int] = {
    InvalidError: 400,
    UnsupportedError: 501,
    UnsupportedMediaTypeError: 415,
    MethodNotAllowedError: 405,
    ModelFailedError: 500,
    DeadlineExceededError: 504,
    SlowClientError: 408,
}


def status_of(error: LoopwrightError) -> int:
    """Inference protocols say 400 where our other APIs say 422."""
    return _STATUS.get(type(error)) or app.status_of(error)
