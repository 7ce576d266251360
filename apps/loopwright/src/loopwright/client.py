"""Asking the services over HTTP: the only way the command line reaches them."""

import os
from collections.abc import Mapping
from typing import Any, Self

import httpx

from loopwright_common.errors import LoopwrightError

PORTS: Mapping[str, int] = {
    "registry": 8001,
    "trainer": 8002,
    "deployer": 8003,
    "scorer": 8004,
    "monitor": 8005,
}
PAGE = 100


class CallError(LoopwrightError):
    """A service refused, failed or was not there; `status` is None when it was not there."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def url_of(service: str) -> str:
    """`LOOPWRIGHT_URL_<SERVICE>`, else the port that `loopwright up` takes, on loopback."""
    port = os.environ.get(f"LOOPWRIGHT_{service.upper()}_PORT") or PORTS[service]
    default = f"http://127.0.0.1:{port}"
    return os.environ.get(f"LOOPWRIGHT_URL_{service.upper()}", default).rstrip("/")


class Services:
    """The services' HTTP APIs; every failure is a CallError with a sentence.

    `timeout` in seconds. What is not text is the answer's JSON.
    """

    def __init__(self, timeout: float = 30.0) -> None:
        self._http = httpx.Client(timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, service: str, path: str, **params: str | int | None) -> Any:
        return self.call(service, "GET", path, params=params).json()

    def text(self, service: str, path: str, **params: str | int | None) -> str:
        return self.call(service, "GET", path, params=params).text

    def post(self, service: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        return _body(self.call(service, "POST", path, body=dict(body or {})))

    def delete(self, service: str, path: str) -> Any:
        return _body(self.call(service, "DELETE", path))

    def items(
        self, service: str, path: str, limit: int = PAGE, **params: str | int | None
    ) -> list[dict[str, Any]]:
        """Up to `limit` items of a list, following its cursor."""
        listed: list[dict[str, Any]] = []
        while len(listed) < limit:
            page = self.get(service, path, **params, limit=min(limit - len(listed), PAGE))
            listed += page["items"]
            params["after"] = page["next"]
            if page["next"] is None or not page["items"]:
                break
        return listed[:limit]

    def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        """The answer, which is no error; parameters that are None are not sent."""
        base = url_of(service)
        query = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            answer = self._http.request(method, base + path, params=query, json=body)
        except httpx.TransportError as error:
            raise CallError(absent(service, base, error)) from None
        if answer.is_error:
            raise CallError(complaint(service, answer), answer.status_code)
        return answer


def complaint(service: str, answer: httpx.Response) -> str:
    """What an error answer says: problem+json's detail, failed checks, or how it began."""
    try:
        body = answer.json()
        names = ("detail", "message", "error", "title")
        reason = _unready(body) or next((body[name] for name in names if body.get(name)), None)
    except (ValueError, AttributeError):
        reason = None
    return f"{service}: {reason or answer.text[:200].strip() or answer.reason_phrase}"


def _unready(body: Mapping[str, Any]) -> str:
    """What `/readyz` complains of."""
    checks = body.get("checks") or {}
    return "; ".join(f"{name}: {reason}" for name, reason in checks.items() if reason != "ok")


def absent(service: str, base: str, error: Exception) -> str:
    return (
        f"the {service} does not answer at {base} ({error}); start it with `loopwright up`, "
        f"or set LOOPWRIGHT_URL_{service.upper()}"
    )


def _body(answer: httpx.Response) -> Any:
    return answer.json() if answer.content else {}
