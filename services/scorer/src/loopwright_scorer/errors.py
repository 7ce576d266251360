"""What goes wrong with a call, and the status that every inference protocol answers it with."""

from loopwright_common.errors import InvalidError, LoopwrightError
from loopwright_common.web import problems


class UnsupportedError(LoopwrightError):
    """A part of the protocol that is not served."""


class MethodNotAllowedError(LoopwrightError):
    """A path that is asked in another way; `allowed` is the method to use."""

    def __init__(self, allowed: str) -> None:
        super().__init__(f"use {allowed} here")
        self.allowed = allowed


class ModelFailedError(LoopwrightError):
    """The model raised, or answered with what is no number."""


class DeadlineExceededError(LoopwrightError):
    """The caller's time was up before the answer was computed."""


_STATUS: dict[type[LoopwrightError], int] = {
    InvalidError: 400,
    UnsupportedError: 501,
    MethodNotAllowedError: 405,
    ModelFailedError: 500,
    DeadlineExceededError: 504,
}


def status_of(error: LoopwrightError) -> int:
    """Inference protocols say 400 where our other APIs say 422."""
    return _STATUS.get(type(error)) or problems.status_of(error)
