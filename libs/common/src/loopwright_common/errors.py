"""The errors every service raises; `web` alone turns them into HTTP answers.

LoopwrightError
├── InvalidError         the request or file is wrong: names the field and the remedy
│   └── MalformedRequestError  what came is no HTTP
├── NotFoundError        no such thing
├── ConflictError        the thing is in a state that forbids this
│   └── AlreadyExistsError   its name is taken
├── RefusedError         policy or permission forbids this
├── TooLargeError        a limit is exceeded
│   └── HeadTooLargeError    by a request's line and headers
├── UnsupportedMediaTypeError  a body of a type that is not taken
├── SlowClientError      the client took too long to send its request
├── TooManyRequestsError the client asks more often than it may
├── CorruptError         stored bytes do not match their digest
├── UndecodableError     a record is no event we know
└── UnavailableError     a passing fault: try again later
    └── OverloadedError      more is asked than there is room for
"""

import re
from pathlib import PurePosixPath

_QUOTED = re.compile(r"""(?P<quote>['"`])(?:file://)?(?P<path>/[^\n]+?)(?P=quote)""")
_FOLDERS = re.compile(r"""(?:file://|(?<![\w/.]))/(?:[^\s/'"`,:;()\[\]<>]+/)*(?=[\w.])""")
_NUMBER = re.compile(r"^\[Errno \d+\] ")


class LoopwrightError(Exception):
    """A failure with a sentence a person can act on."""


class InvalidError(LoopwrightError):
    """The input is wrong; `field` names where, as a path such as `stages.train.cmd`."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class MalformedRequestError(InvalidError):
    """What came over a connection is no HTTP."""


class NotFoundError(LoopwrightError):
    """No such thing."""


class ConflictError(LoopwrightError):
    """The thing is in a state that forbids this."""


class AlreadyExistsError(ConflictError):
    """The name is taken."""


class RefusedError(LoopwrightError):
    """Policy or permission forbids this."""


class TooLargeError(LoopwrightError):
    """A declared limit is exceeded."""


class HeadTooLargeError(TooLargeError):
    """A request's line and headers are longer than is taken."""


class UnsupportedMediaTypeError(LoopwrightError):
    """A body of a type that the protocol does not take."""


class SlowClientError(LoopwrightError):
    """The client took too long to send its request."""


class TooManyRequestsError(LoopwrightError):
    """The client asks more often than it may; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CorruptError(LoopwrightError):
    """Stored bytes do not match their digest; they are never used."""


class UndecodableError(LoopwrightError):
    """A record's bytes are no event we know; retrying cannot help."""


class UnavailableError(LoopwrightError):
    """A passing fault: the same call may succeed after `retry_after` seconds."""

    retry_after = 1


class OverloadedError(UnavailableError):
    """More is asked than there is room for; the caller should come again in a second."""


class ClientDisconnectedError(Exception):
    """The caller went away before its request was whole, or before computing it began."""


def without_paths(error: BaseException | str) -> str:
    """What a library or the system says, with its files by name alone.

    Where they lie on this machine is for its logs: an answer, why a run or a deployment failed, and
    an event are read by anybody.
    """
    text = _NUMBER.sub("", str(error))
    named = _QUOTED.sub(lambda found: f"'{PurePosixPath(found['path']).name}'", text)
    return _FOLDERS.sub("", named)


def described(error: BaseException) -> str:
    """The kind of an error and what it says, without paths."""
    return f"{type(error).__name__}: {without_paths(error)}"


def scheme_alone(url: str) -> str:
    """What is shown of a URL that is refused: its password may be anywhere in it."""
    scheme, separator, _ = url.partition("://")
    return f"{scheme if separator else ''}..." if url else ""
