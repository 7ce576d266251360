"""A service that is in trouble for a moment does not end the demo; one that is gone does."""

import httpx
import pytest

from loopwright.demo.client.retrying_transport import RetryingTransport
from loopwright_common.errors import UnavailableError


class Service:
    """Answers with each status once, and fails to for 0."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.content)
        if status := self.statuses.pop(0):
            return httpx.Response(status)
        raise httpx.ConnectError("refused")


async def asked(service: Service, seconds: float, ends_after: int = 100) -> httpx.Response:
    """What a caller of a system that ends after some requests gets."""

    def check() -> None:
        if len(service.bodies) == ends_after:
            raise UnavailableError("the system ended")

    transport = RetryingTransport(httpx.MockTransport(service), check, seconds)
    async with httpx.AsyncClient(transport=transport) as http:
        return await http.post("http://scorer", json={"rows": 1})


async def test_what_passes_is_asked_again_with_the_same_body() -> None:
    service = Service(503, 0, 429, 201)
    assert (await asked(service, 60)).status_code == 201
    assert set(service.bodies) == {b'{"rows":1}'}


@pytest.mark.parametrize("status", [404, 409, 500])
async def test_what_does_not_pass_is_the_answer(status: int) -> None:
    service = Service(status)
    assert (await asked(service, 60)).status_code == status


async def test_trouble_that_stays_is_the_answer_in_the_end() -> None:
    assert (await asked(Service(*[503] * 100), 0.3)).status_code == 503
    with pytest.raises(UnavailableError, match=r"http://scorer does not answer.*refused"):
        await asked(Service(*[0] * 100), 0.3)


async def test_nobody_waits_for_a_system_that_has_ended() -> None:
    with pytest.raises(UnavailableError, match="the system ended"):
        await asked(Service(*[503] * 100), 60, ends_after=1)
