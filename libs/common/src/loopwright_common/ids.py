"""Ids of events and of things: UUIDv7 for what starts outside, uuid5 for what follows from it."""

import secrets
from uuid import UUID, uuid5

import uuid_utils

_NAMESPACE = UUID("6f0d7bd4-2f43-5d8e-9a55-9a9c5f0c7a11")


def new_id() -> str:
    """A time-ordered UUIDv7 (RFC 9562) as text."""
    return str(uuid_utils.uuid7())


def derived_id(*parts: object) -> str:
    """The same parts always give the same id, so a repeated handler repeats its events' ids."""
    return str(uuid5(_NAMESPACE, "\x1f".join(str(part) for part in parts)))


def new_traceparent() -> str:
    """A W3C trace context that starts a trace (https://www.w3.org/TR/trace-context/)."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def child_traceparent(parent: str | None) -> str:
    """A new span within the parent's trace."""
    if parent is None or parent.count("-") != 3:
        return new_traceparent()
    version, trace, _, flags = parent.split("-")
    return f"{version}-{trace}-{secrets.token_hex(8)}-{flags}"
