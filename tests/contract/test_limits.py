"""Every route of every service, from the routes themselves: what it takes has a bound.

A new route of an app is tried by itself; a new inference protocol is missed in `CLAIMED`.
"""

import asyncio
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import repeat
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from fastapi.routing import iter_route_contexts

from loopwright.client import PORTS
from loopwright_common.web.request_limits import declared_limit
from loopwright_scorer.http_server.dispatcher import ProtocolRouter
from tests.contract.test_apis import System, running

LARGEST = 64 << 10
"""Bytes of a body, where a route does not say that it takes more."""
ENOUGH = 4 << 20
"""Of a route that takes more it is tried only whether it believes a length."""
CLAIMED = {
    "V2Protocol": [
        "GET /v2", "GET /v2/health/ready", "GET /v2/models/m", "GET /v2/models/m/versions/1/config",
        "GET /v2/models/stats", "POST /v2/models/m/infer", "POST /v2/models/m/versions/1/infer",
        "POST /v2/repository/index", "POST /v2/repository/models/m/load",
        "POST /v2/repository/models/m/unload",
    ],
    "V1Protocol": ["GET /v1/models/m", "POST /v1/models/m:predict"],
    "OpenApiProtocol": ["GET /models/m/docs", "GET /models/m/openapi.json"],
    "MlflowProtocol": ["GET /ping", "GET /health", "POST /invocations",
                       "GET /models/m/version", "POST /models/m/invocations"],
}  # fmt: skip


class RouteOf(NamedTuple):
    service: str
    method: str
    path: str
    is_protocols: bool = False
    """Whether an inference protocol answers, which leaves unread what it has no use for."""
    limit: int = LARGEST


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Generator[System, None, None]:
    with running(
        tmp_path_factory.mktemp("limits"),
        body_timeout=10,
        largest_body=LARGEST,
        registry_largest_upload=1 << 20,
    ) as system:
        yield system


def routes(system: System) -> list[RouteOf]:
    found = []
    for service, app in system.apps.items():
        inner = app
        if isinstance(app, ProtocolRouter):
            found += [RouteOf(service, method, path, True) for method, path in claimed(app)]
            inner = app._others._app  # type: ignore[attr-defined]
        found += [RouteOf(service, *each) for each in walked(inner.routes)]
    return found


def claimed(router: ProtocolRouter) -> Iterator[tuple[str, str]]:
    assert {type(protocol).__name__ for protocol in router._protocols} == set(CLAIMED)
    for protocol in router._protocols:
        for line in CLAIMED[type(protocol).__name__]:
            method, path = line.split()
            assert protocol.claims(path)
            yield method, path


def walked(given: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str, bool, int]]:
    for route in iter_route_contexts(list(given)):
        path = f"{prefix}{route.path}"
        if inner := getattr(route, "routes", None):
            yield from walked(inner, path)
        else:
            for method in (route.methods or set()) - {"HEAD"}:
                plain = path.replace("{path:path}", "a/b").replace("{", "").replace("}", "")
                declared = declared_limit(route.endpoint)
                yield method, plain, False, declared.size if declared else LARGEST


async def raw(
    system: System, route: RouteOf, content: Iterable[bytes], *, to_end: bool = False
) -> bytes:
    """The answer; or `to_end` all that comes until the service ends the connection, if it does."""
    address = urlsplit(system.urls[route.service])
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    sending = asyncio.create_task(send(writer, content))
    answered = bytearray()
    try:
        async with asyncio.timeout(240):
            while some := await reader.read(1 << 16):
                answered += some
                if not to_end and is_whole(bytes(answered)):
                    break
    except ConnectionError:
        pass
    except TimeoutError:
        return b"HTTP/1.1 0 it never ends\r\n\r\n" + bytes(answered)
    finally:
        sending.cancel()
        writer.close()
    return bytes(answered)


def is_whole(answered: bytes) -> bool:
    start, _, body = answered.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", start)
    return length is not None and len(body) == int(length[1])


async def send(writer: asyncio.StreamWriter, content: Iterable[bytes]) -> None:
    with suppress(ConnectionError):
        for piece in content:
            writer.write(piece)
            await writer.drain()


def head(route: RouteOf, *lines: str, media: str = "application/json") -> bytes:
    start = f"{route.method} {route.path} HTTP/1.1"
    told = [start, "host: 127.0.0.1", f"content-type: {media}", *lines]
    return "\r\n".join([*told, "", ""]).encode()


def status(answered: bytes) -> int:
    return int(answered.split(b" ", 2)[1]) if answered else 0


def is_in_shape(route: RouteOf, answered: bytes) -> bool:
    """Whether an error is told as the route's protocol tells errors."""
    fields: set[str] = set(json.loads(answered.partition(b"\r\n\r\n")[2]))
    if route.path.startswith(("/api/", "/ajax-api/", "/invocations", "/ping")):
        return fields == {"error_code", "message"}
    if route.is_protocols:
        return "error" in fields or "error_code" in fields
    return {"title", "status", "detail"} <= fields


def endless(start: bytes) -> Iterator[bytes]:
    """A body in chunks, as long as anybody reads it."""
    yield start
    yield from repeat(b"%x\r\n%b\r\n" % (1 << 18, b" " * (1 << 18)), 1000)


async def refusals(
    system: System, content: Mapping[RouteOf, Iterable[bytes]], *, to_end: bool = False
) -> dict[RouteOf, bytes]:
    """What each route answers, so many at a time."""
    room = asyncio.Semaphore(400 if to_end else 20)

    async def ask(route: RouteOf) -> bytes:
        async with room:
            return await raw(system, route, content[route], to_end=to_end)

    answers = await asyncio.gather(*map(ask, content))
    return dict(zip(content, answers, strict=True))


async def test_every_route_bounds_its_body_head_and_time(system: System) -> None:
    every = routes(system)
    ours = [route for route in every if not route.is_protocols]
    read = [route for route in ours if route.limit <= ENOUGH]
    asked: dict[str, tuple[int, dict[RouteOf, Iterable[bytes]]]] = {
        "declared": (413, {r: [head(r, f"content-length: {1 << 40}"), b"{"] for r in every}),
        "chunked": (413, {r: endless(head(r, "transfer-encoding: chunked")) for r in read}),
        "head": (431, {r: [head(r, "x-long: " + "x" * 65_536)] for r in every}),
        "half a head": (408, {r: [head(r)[:-2]] for r in every}),
        "half a body": (408, {r: [head(r, "content-length: 9"), b"{"] for r in ours}),
    }
    late = [kind for kind, (wanted, _) in asked.items() if wanted == 408]
    waited = [refusals(system, asked[kind][1], to_end=True) for kind in late]
    answers = {k: await refusals(system, asked[k][1]) for k in asked if k not in late}
    answers |= zip(late, await asyncio.gather(*waited), strict=True)
    wrong = {
        f"{kind}: {route}": answered[:300]
        for kind, answered_by in answers.items()
        for route, answered in answered_by.items()
        if status(answered) != asked[kind][0] or not is_in_shape(route, answered)
    }

    assert {route.service for route in every} == set(PORTS)
    assert len(every) > 150
    assert wrong == {}


def is_mlflows(route: RouteOf) -> bool:
    return route.path.startswith(("/api/", "/ajax-api/"))


JSON_TYPE = "content-type: application/json\r\n"
LONG = f"x-long: {'x' * 65_536}\r\n\r\n"
MISUSES: dict[str, tuple[int, Callable[[RouteOf], list[str]]]] = {
    "of another host": (403, lambda r: [f"{r.method} {r.path} HTTP/1.1\r\nhost: a.b\r\n\r\n"]),
    "from another site": (403, lambda r: [start(r), "origin: http://a.b\r\n\r\n"]),
    "no header": (400, lambda r: [start(r), "no header\r\n\r\n"]),
    "no chunk": (400, lambda r: [start(r), "transfer-encoding: chunked\r\n\r\nno length\r\n"]),
    "no JSON": (400, lambda r: [start(r), JSON_TYPE, body("{")]),
    "a key twice": (400, lambda r: [start(r), JSON_TYPE, body('{"a": 1, "a": 2}')]),
    "a form": (415, lambda r: [start(r), "content-type: text/plain\r\n", body("a=b")]),
    "encoded": (431, lambda r: [start(r._replace(path=f"/%61{r.path[2:]}")), LONG]),
    "as to a proxy": (431, lambda r: [start(r._replace(path=f"http://127.0.0.1{r.path}")), LONG]),
}


def start(route: RouteOf) -> str:
    return f"{route.method} {route.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"


def body(content: str) -> str:
    return f"content-length: {len(content)}\r\n\r\n{content}"


@pytest.mark.parametrize("misuse", MISUSES)
async def test_whatever_layer_refuses_it_speaks_mlflows_protocol_on_its_paths(
    system: System, misuse: str
) -> None:
    wanted, made = MISUSES[misuse]
    ours = [route for route in routes(system) if is_mlflows(route)]
    if wanted in (400, 415) and misuse.startswith(("no JSON", "a ")):
        ours = [route for route in ours if route.method != "PUT"]  # a file is any bytes
    asked = {route: ["".join(made(route)).encode()] for route in ours}
    wrong = {
        route: answered[:300]
        for route, answered in (await refusals(system, asked)).items()
        if status(answered) != wanted or not is_in_shape(route, answered)
    }

    assert len(ours) > 100
    assert wrong == {}


async def test_who_decides_is_named_by_what_is_shown(system: System) -> None:
    content = json.dumps({"by": "some\u202ebody"})
    asked = {
        RouteOf(service, "POST", re.sub(r"[{}]", "", path)): [content]
        for service, path in deciding(system)
    }
    sent = {r: [f"{start(r)}{JSON_TYPE}{body(c)}".encode()] for r, [c] in asked.items()}
    answers = await refusals(system, sent)
    wrong = {
        route: answered[:300]
        for route, answered in answers.items()
        if status(answered) != 422 or b"by 'some" not in answered or b"U+202E" not in answered
    }

    assert {"trainer", "deployer", "registry"} <= {route.service for route in asked}
    assert wrong == {}


def deciding(system: System) -> Iterator[tuple[str, str]]:
    """Where a request says who decides, from the services' own descriptions."""
    for service, app in system.apps.items():
        inner = app._others._app if isinstance(app, ProtocolRouter) else app  # type: ignore[attr-defined]
        described = inner.openapi()
        named = [
            n
            for n, s in described["components"]["schemas"].items()
            if "by" in s.get("properties", {})
        ]
        for path, operations in described["paths"].items():
            taken = json.dumps(operations.get("post", {}).get("requestBody", {}))
            if any(f'schemas/{name}"' in taken for name in named):
                yield service, path


async def test_what_a_protocol_has_no_use_for_is_not_waited_for(system: System) -> None:
    asked = {r: [head(r, "content-length: 9"), b"{"] for r in routes(system) if r.is_protocols}

    assert all((await refusals(system, asked, to_end=True)).values())


async def test_a_body_within_the_limit_is_read_whole(system: System) -> None:
    """So that what was refused above was refused for its size."""
    route = RouteOf("trainer", "POST", "/v1/runs")
    body = json.dumps({"pad": "x" * (LARGEST - 100)}).encode()
    answered = await raw(system, route, [head(route, f"content-length: {len(body)}"), body])

    assert status(answered) == 422


@pytest.mark.parametrize(
    ("media", "body", "wanted"),
    [
        ("text/plain", b"{}", 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("application/json", b'{"a": 1, "a": 2}', 422),
        ("application/json", b'{"a": NaN}', 422),
    ],
)
async def test_every_route_that_takes_a_body_takes_only_json(
    system: System, media: str, body: bytes, wanted: int
) -> None:
    ours = [r for r in routes(system) if not r.is_protocols and r.path.startswith("/v1/")]
    asked = {
        r: [head(r, f"content-length: {len(body)}", media=media), body]
        for r in ours
        if r.method != "GET"
    }
    wrong = {
        route: answered[:300]
        for route, answered in (await refusals(system, asked)).items()
        if status(answered) != wanted or not is_in_shape(route, answered)
    }

    assert len(asked) > 15
    assert wrong == {}
