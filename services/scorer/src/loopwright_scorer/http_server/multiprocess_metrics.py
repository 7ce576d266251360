"""The metrics of all workers behind one port, from whichever of them is asked.

A scorer that is no worker is alone, and so are its metrics.
"""

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path

import httpx
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

ADDRESS_FILE = "worker.address"
_PATH = "/metrics"
_THIS_WORKER_ONLY = (b"loopwright-worker", b"alone")
_TIMEOUT_SECONDS = 2.0


class MultiprocessMetrics:
    """An ASGI app in front of another: answers /metrics for all workers, each with its label."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry, directory: Path) -> None:
        """`directory` holds the workers' own: each writes there where it alone can be reached."""
        self._app = app
        self._registry = registry
        self._own = directory
        self._all = directory.parent
        self._address: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            self._address is None
            or scope["type"] != "http"
            or scope["path"] != _PATH
            or _THIS_WORKER_ONLY in scope["headers"]
        ):
            await self._app(scope, receive, send)
            return
        body = _merged(await self._texts())
        await Response(body, media_type=CONTENT_TYPE_LATEST)(scope, receive, send)

    def listen(self) -> socket.socket:
        """A socket on loopback that reaches this worker and no other."""
        own = socket.create_server(("127.0.0.1", 0))
        host, port = own.getsockname()
        self._address = f"http://{host}:{port}"
        (self._own / ADDRESS_FILE).write_text(self._address)
        return own

    async def _texts(self) -> dict[str, str]:
        """By the worker's number; one that does not answer in time is left out."""
        addresses = self._addresses()
        async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as http:
            texts = await asyncio.gather(*(self._text(http, each) for each in addresses.values()))
        return {n: text for n, text in zip(addresses, texts, strict=True) if text is not None}

    def _addresses(self) -> dict[str, str]:
        files = sorted(self._all.glob(f"worker-*/{ADDRESS_FILE}"))
        return {file.parent.name.removeprefix("worker-"): file.read_text() for file in files}

    async def _text(self, http: httpx.AsyncClient, address: str) -> str | None:
        if address == self._address:
            return generate_latest(self._registry).decode()
        name, value = (part.decode() for part in _THIS_WORKER_ONLY)
        try:
            answer = await http.get(address + _PATH, headers={name: value})
        except httpx.HTTPError:
            return None
        return answer.text if answer.is_success else None


class _Families:
    """What `generate_latest` writes out."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _merged(texts: dict[str, str]) -> bytes:
    families: dict[str, Metric] = {}
    for worker, text in texts.items():
        for family in text_string_to_metric_families(text):
            empty = Metric(family.name, family.documentation, family.type)
            whole = families.setdefault(family.name, empty)
            whole.samples += [
                sample._replace(labels={**sample.labels, "worker": worker})
                for sample in family.samples
            ]
    return generate_latest(_Families(families.values()))
