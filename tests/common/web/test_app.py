"""Who is answered over HTTP."""

import httpx
import jsonschema
import pytest
from fastapi import APIRouter

from loopwright_common.errors import NotFoundError
from loopwright_common.observability.metrics import Metrics
from loopwright_common.settings import ServiceSettings
from loopwright_common.web.app import add_routes, create_app
from loopwright_common.web.guard import RequestGuard
from loopwright_common.web.problems import PROBLEMS


class ProbeSettings(ServiceSettings):
    service = "probe"
    port: int = 0


async def ask(headers: dict[str, str]) -> httpx.Response:
    app = create_app("probe", Metrics(), {}, RequestGuard.of(ProbeSettings()))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001") as client:
        return await client.get("/livez", headers=headers)


@pytest.mark.parametrize("host", ["127.0.0.1:8001", "localhost", "[::1]:8001"])
async def test_this_machine_is_answered(host: str) -> None:
    assert (await ask({"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["rebound.example", "[", "evil.example@127.0.0.1", "127.0.0.1:x", "", "127.0.0.1/x"]
)
async def test_another_host_is_refused_and_the_setting_named(host: str) -> None:
    answer = await ask({"host": host})

    assert answer.status_code == 403
    assert "LOOPWRIGHT_ALLOWED_HOSTS" in answer.json()["detail"]


async def test_hosts_that_are_allowed_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPWRIGHT_ALLOWED_HOSTS", "registry, trainer")

    assert (await ask({"host": "trainer:8002"})).status_code == 200
    assert (await ask({"host": "deployer:8003"})).status_code == 403


async def test_requests_are_counted_by_route() -> None:
    metrics = Metrics()
    app = create_app("probe", metrics, {})
    app.add_api_route("/things/{name}", lambda name: name, methods=["GET"])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for path in ("/things/a", "/things/b", "/nowhere"):
            await client.get(path)
        told = (await client.get("/metrics")).text

    assert 'http_requests_total{handler="/things/{name}",method="GET",status="200"} 2.0' in told
    assert 'http_requests_total{handler="unknown",method="GET",status="404"} 1.0' in told
    assert 'http_request_duration_seconds_count{handler="/things/{name}",method="GET"} 2.0' in told


async def test_problems_are_described_by_their_media_type_and_one_schema() -> None:
    app, router = create_app("probe", Metrics(), {}), APIRouter(prefix="/v1", responses=PROBLEMS)

    @router.get("/absent")
    async def absent() -> None:
        raise NotFoundError("there is none")

    add_routes(app, router)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001") as client:
        answer = await client.get("/v1/absent")
        described = (await client.get("/openapi.json")).json()

    content = described["paths"]["/v1/absent"]["get"]["responses"]["404"]["content"]
    (media_type, media), *others = content.items()
    assert (media_type, others) == (answer.headers["content-type"], [])
    where = media["schema"]["$ref"].removeprefix("#/components/schemas/")
    jsonschema.validate(answer.json(), described["components"]["schemas"][where])
    assert answer.json()["detail"] == "there is none"
