"""What a client asks, whatever protocol it spoke."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class UnsupportedError(Exception):
    """A part of the protocol that is not served; answered with 501."""


@dataclass(frozen=True, slots=True)
class GivenTensor:
    """An input as sent: `data` flat in row-major order, None where the value is missing."""

    datatype: str
    shape: tuple[int, ...]
    data: list[Any]


@dataclass(frozen=True, slots=True)
class Request:
    id: str | None
    inputs: Mapping[str, GivenTensor]
    outputs: frozenset[str] | None
    """Names of the outputs asked for; None means all."""
