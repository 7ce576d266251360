"""An operation of MLflow's API, and what it may know beside its request."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from loopwright_common.database import Cause, Database
from loopwright_common.errors import InvalidError
from loopwright_common.storage import ArtifactStore
from loopwright_common.web.request_limits import BodyLimit
from loopwright_registry.mlflow.json import MlflowRequest, MlflowResponse

CAUSE_HEADER = "loopwright-cause"


@dataclass(frozen=True, slots=True)
class MlflowContext:
    """What an endpoint may use besides its request."""

    database: Database
    store: ArtifactStore
    cause: Cause | None = None
    bearer: str | None = None
    """The token that came with the request."""
    largest_upload: int = 16 << 30
    """Bytes of one artifact file."""


A = TypeVar("A", bound=MlflowRequest)


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[A]):
    """One operation of MLflow's API, by method and path below the version prefix."""

    method: str
    path: str
    request_type: type[A]
    handle: Callable[[A, MlflowContext], Awaitable[MlflowResponse]]
    body_limit: BodyLimit | None = None
    """Where it takes more than the service does by default."""


Endpoints = Sequence[Endpoint[Any]]


def cause_of(request: Request) -> Cause | None:
    """The cause that the trainer hands on; raises InvalidError when it is garbled."""
    text = request.headers.get(CAUSE_HEADER)
    if text is None:
        return None
    try:
        return Cause.from_json(json.loads(text))
    except (ValueError, KeyError, TypeError):
        raise InvalidError(
            f"header {CAUSE_HEADER}: give chain_id, event_ids and traceparent as a JSON object"
        ) from None


def bearer_of(request: Request) -> str | None:
    """The token in the header `Authorization: Bearer TOKEN`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
