"""What every request has to pass, whatever its route: who may ask, how often and how much."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from loopwright_common.errors import (
    ClientDisconnectedError,
    LoopwrightError,
    RefusedError,
    UnsupportedMediaTypeError,
)
from loopwright_common.settings import LOOPBACK, ServiceSettings
from loopwright_common.web import strict_json
from loopwright_common.web.client_rates import ClientRates
from loopwright_common.web.connections import ConnectionLimits
from loopwright_common.web.problems import Refuse, problem_of
from loopwright_common.web.request_body import BodyReader, replayed
from loopwright_common.web.request_limits import (
    BodyLimit,
    MemoryCharge,
    RequestLimits,
    RequestMemory,
    declared_limit,
)
from loopwright_common.web.same_origin import foreign

JSON = "loopwright.json"
"""Where a scope has the value that a request's body is."""


@dataclass(frozen=True)
class RequestGuard:
    """The limits of one service, shared by its connections and its app."""

    hosts: frozenset[str] = LOOPBACK
    limits: RequestLimits = field(default_factory=RequestLimits)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    rates: ClientRates = field(default_factory=ClientRates)
    refuse: Refuse = problem_of

    @classmethod
    def of(cls, settings: ServiceSettings, refuse: Refuse = problem_of) -> "RequestGuard":
        """As a service's settings say."""
        memory = RequestMemory(settings.request_buffer, settings.service)
        return cls(
            settings.hosts,
            RequestLimits(settings.largest_body, memory, settings.body_timeout),
            ConnectionLimits(settings.max_connections, settings.body_timeout, settings.service),
            ClientRates(settings.request_rate),
            refuse,
        )


class GuardRequests:
    """An app behind a guard: what it is asked comes from here, whole, in time, and is JSON.

    A route that is declared with `takes_body` has its own limit; one whose limit is `streamed`
    reads its body itself, as it comes.
    """

    def __init__(self, app: ASGIApp, routes: list[BaseRoute], guard: RequestGuard) -> None:
        self._app = app
        self._routes = routes
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        charge = MemoryCharge(self._guard.limits.memory)
        try:
            if reason := foreign(scope["headers"], self._guard.hosts):
                raise RefusedError(reason)
            receive = await self._received(scope, receive, charge)
        except ClientDisconnectedError:
            charge.release()
            return
        except LoopwrightError as error:
            charge.release()
            await self._guard.refuse(scope["path"], error)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            charge.release()

    async def _received(self, scope: Scope, receive: Receive, charge: MemoryCharge) -> Receive:
        """What gives the app its body."""
        reader = BodyReader(scope, receive, self._guard.limits.body_seconds)
        if not reader.has_body:
            return receive
        route = _endpoint(self._routes, scope)
        limit = declared_limit(route) or BodyLimit(self._guard.limits.largest_body)
        limit.check(reader.declared)
        if limit.streamed:
            return reader.streaming(limit)
        body = await reader.whole(limit, charge)
        if body and route is not None:
            scope[JSON] = _json(scope, body)
        return replayed(body, receive)


def _json(scope: Scope, body: bytes) -> object:
    """A form that any page may post to any site is no JSON by its type already."""
    headers = Headers(scope=scope)
    encoding = headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise UnsupportedMediaTypeError(f"content-encoding {encoding[:60]!r}: send it as it is")
    given = headers.get("content-type", "nothing")
    media = given.partition(";")[0].strip().lower()
    if media != "application/json" and not (
        media.startswith("application/") and media.endswith("+json")
    ):
        raise UnsupportedMediaTypeError(
            f"send JSON with the header `content-type: application/json`, not {given[:60]}"
        )
    return strict_json.loads(body)


def _endpoint(routes: Sequence[BaseRoute], scope: Scope) -> object | None:
    """The function that answers a request; None where it is no route's."""
    for route in iter_route_contexts(routes):
        match, child = route.matches(scope)
        if match is Match.FULL:
            inner = getattr(route, "routes", None)
            endpoint: object = child.get("endpoint", route)
            return _endpoint(inner, {**scope, **child}) if inner else endpoint
    return None
