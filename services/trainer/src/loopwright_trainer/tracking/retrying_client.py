"""Calls to the registry, repeated while it is away, with what it refuses as errors of ours."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from loopwright_common.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)

DELAYS = (0.05, 0.2, 0.5, 1, 2, 4, 8, 8, 8, 8)
Body = Callable[[], bytes | AsyncIterator[bytes]]
"""Makes the body anew for each try."""


class RetryingClient:
    """Calls to the registry; UnavailableError once it stayed away for all `delays` (seconds).

    What the registry refuses is raised as the error of ours that it means: InvalidError,
    NotFoundError, ConflictError or RefusedError, in its own words.
    """

    def __init__(
        self, client: httpx.AsyncClient, delays: tuple[float, ...], token: str | None
    ) -> None:
        self._client = client
        self._delays = delays
        self._token = token

    async def send(
        self, method: str, url: str, *, body: Body | None = None, **request: Any
    ) -> dict[str, Any]:
        """The JSON of the answer to a call that may be repeated; empty where it has none."""
        for delay in self._delays:
            try:
                return await self.send_once(
                    method, url, content=body() if body else None, **request
                )
            except UnavailableError:
                await asyncio.sleep(delay)
        return await self.send_once(method, url, content=body() if body else None, **request)

    async def send_once(self, method: str, url: str, **request: Any) -> dict[str, Any]:
        """The same, tried once; UnavailableError at the first failure that may pass."""
        if self._token:
            proof = {"authorization": f"Bearer {self._token}"}
            request["headers"] = {**request.get("headers", {}), **proof}
        try:
            return _checked(await self._client.request(method, url, **request))
        except httpx.TransportError as error:
            raise UnavailableError(f"registry: {str(error) or type(error).__name__}") from error


def _checked(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        content: dict[str, Any] = response.json() if response.content else {}
        return content
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    code = problem.get("error_code", "")
    message = problem.get("message") or problem.get("detail") or response.text[:300]
    text = f"registry answered {response.status_code} to {response.request.url.path}: {message}"
    if response.status_code >= 500 or response.status_code in (408, 429):
        raise UnavailableError(text)
    if code == "RESOURCE_ALREADY_EXISTS" or response.status_code == 409:
        raise ConflictError(text)
    if response.status_code == 403:
        raise RefusedError(text)
    if response.status_code == 404:
        raise NotFoundError(text)
    raise InvalidError(text)
