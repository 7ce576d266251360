"""Words and rules that every part of the registry shares."""

import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from loopwright_common.errors import InvalidError
from loopwright_common.names import check_name

Tags = Mapping[str, str]
Params = Mapping[str, str]
ACTIVE, DELETED = "active", "deleted"
LARGEST_INTEGER = 2**63 - 1
LARGEST_FLOAT = 1.7976931348623157e308

_KEY = re.compile(r"[\w\-.: /]{1,250}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One point of a curve; the time is milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int = 0
    run_id: str | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None

    @property
    def is_nan(self) -> bool:
        return math.isnan(self.value)

    @property
    def age(self) -> tuple[int, int, bool, float]:
        """Sort key of points of one name.

        The greatest is the latest (step, then time, then value).
        """
        return (self.step, self.timestamp, not self.is_nan, self.stored_value)

    @property
    def stored_value(self) -> float:
        """The value as a finite number: databases keep neither NaN nor infinities alike, so 0
        stands for NaN, whose row says so besides, and the largest float for an infinity.
        """
        if self.is_nan:
            return 0.0
        return max(-LARGEST_FLOAT, min(LARGEST_FLOAT, self.value))


def latest(points: Iterable[Metric]) -> dict[str, Metric]:
    """The latest point of each key."""
    newest: dict[str, Metric] = {}
    for point in points:
        known = newest.get(point.key)
        if known is None or point.age >= known.age:
            newest[point.key] = point
    return newest


def check_key(kind: str, key: str) -> None:
    """Raise InvalidError unless `key` may name a metric, parameter or tag of a run."""
    check_name("key", key)
    if not _KEY.fullmatch(key) or posixpath.normpath(key) != key or key.startswith(("/", "..")):
        raise InvalidError(
            f"Invalid {kind} name: {key!r}. Use at most 250 letters, digits, _ - . : space and /, "
            "as a plain relative path.",
            field="key",
        )


def check_text(name: str, text: str) -> None:
    """Raise InvalidError for what PostgreSQL cannot keep: NUL characters and halves of pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidError(f"Invalid value for {name}: it is no Unicode text", field=name) from None
    if "\0" in text:
        raise InvalidError(
            f"Invalid value for {name}: it holds a NUL character, which cannot be kept", field=name
        )


def decoded_wholly(text: str) -> str:
    """What is left of a text when whoever reads it decodes it as often as it can be."""
    while (decoded := unquote(text)) != text:
        text = decoded
    return text


def check_length(name: str, text: str | None, limit: int) -> None:
    """Raise InvalidError when `text` has more than `limit` characters."""
    if text is not None and len(text) > limit:
        raise InvalidError(f"{name} has {len(text)} characters; at most {limit} are kept")
