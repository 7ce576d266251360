"""The errors every service raises; `web` alone turns them into HTTP answers.

LoopwrightError
├── InvalidError         the request or file is wrong: names the field and the remedy
├── NotFoundError        no such thing
├── ConflictError        the thing is in a state that forbids this
├── RefusedError         policy or permission forbids this
├── TooLargeError        a limit is exceeded
├── CorruptError         stored bytes do not match their digest
├── UndecodableError     a record is no event we know
└── UnavailableError     a passing fault: try again later
"""


class LoopwrightError(Exception):
    """A failure with a sentence a person can act on."""


class InvalidError(LoopwrightError):
    """The input is wrong; `field` names where, as a path such as `stages.train.cmd`."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFoundError(LoopwrightError):
    """No such thing."""


class ConflictError(LoopwrightError):
    """The thing is in a state that forbids this."""


class RefusedError(LoopwrightError):
    """Policy or permission forbids this."""


class TooLargeError(LoopwrightError):
    """A declared limit is exceeded."""


class CorruptError(LoopwrightError):
    """Stored bytes do not match their digest; they are never used."""


class UndecodableError(LoopwrightError):
    """A record's bytes are no event we know; retrying cannot help."""


class UnavailableError(LoopwrightError):
    """A passing fault: the same call may succeed later."""
