"""Requests are sent again while a service passes through trouble, as on a busy machine."""

import asyncio
from collections.abc import Callable

import httpx

from loopwright_common.errors import UnavailableError

_PASSING = frozenset({429, 503})
_PAUSE = 0.2


class RetryingTransport(httpx.AsyncBaseTransport):
    """Tries again after 429, 503 or no answer at all, until `seconds` have passed."""

    def __init__(
        self, transport: httpx.AsyncBaseTransport, check: Callable[[], None], seconds: float = 120
    ) -> None:
        """`check` raises when trying again is in vain, such as after the system's end."""
        self._transport = transport
        self._check = check
        self._seconds = seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The first answer that is not passing, or the last; UnavailableError without any."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._seconds
        while True:
            self._check()
            try:
                answer = await self._transport.handle_async_request(request)
            except httpx.TransportError as error:
                if loop.time() > ends:
                    raise UnavailableError(f"{request.url} does not answer: {error!r}") from None
            else:
                if answer.status_code not in _PASSING or loop.time() > ends:
                    return answer
                await answer.aclose()
            await asyncio.sleep(_PAUSE)

    async def aclose(self) -> None:
        await self._transport.aclose()
