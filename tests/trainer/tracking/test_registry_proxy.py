"""What a stage may ask the registry, and with whose token."""

import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from loopwright_trainer.tracking.registry_proxy import create_registry_proxy

API = "/api/2.0/"


async def answer(
    method: str, path: str, *, shown: str = "own", **request: object
) -> tuple[int, str]:
    """Status, and what the registry says that it was asked."""

    async def say(asked: Request) -> Response:
        headers = asked.headers
        body = (await asked.body()).decode()
        said = f"{asked.method} {asked.url.path}?{asked.url.query} {headers.get('authorization')}"
        return PlainTextResponse(f"{said} {headers.get('cookie')} {body}")

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    registry = httpx.ASGITransport(Starlette(routes=[Route("/{path:path}", say, methods=methods)]))
    async with httpx.AsyncClient(transport=registry, base_url="http://registry") as client:
        proxy = httpx.ASGITransport(create_registry_proxy(client, "run-token", "r1", "own"))
        async with httpx.AsyncClient(transport=proxy, base_url="http://127.0.0.1") as stage:
            headers = {"authorization": f"Bearer {shown}", "cookie": "a=b"}
            answered = await stage.request(method, path, headers=headers, **request)  # type: ignore[arg-type]
    return answered.status_code, answered.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "mlflow/runs/get"),
        ("GET", "mlflow/registered-models/alias"),
        ("GET", "mlflow-artifacts/artifacts/1/a%20b"),
        ("POST", "mlflow/runs/log-batch"),
        ("POST", "mlflow/runs/search"),
        ("POST", "mlflow/runs/set-tag"),
        ("POST", "mlflow/runs/delete-tag"),
        ("POST", "mlflow/logged-models"),
        ("PATCH", "mlflow/logged-models/m/tags"),
        ("POST", "mlflow/registered-models/get-latest-versions"),
        ("PUT", "mlflow-artifacts/artifacts/1/model/MLmodel"),
    ],
)
async def test_it_reads_and_writes_what_a_run_does_with_the_runs_token(
    method: str, path: str
) -> None:
    status, said = await answer(method, f"{API}{path}?x=1", content=b"body")
    decoded = path.replace("%20", " ")
    assert (status, said) == (200, f"{method} {API}{decoded}?x=1 Bearer run-token None body")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/runs/1/token"),
        ("GET", "/v1/models"),
        ("GET", f"{API}mlflow/%2e%2e/%2e%2e/%2e%2e/v1/models"),
        ("POST", f"{API}mlflow/model-versions/create"),
        ("POST", f"{API}mlflow/registered-models/alias"),
        ("DELETE", f"{API}mlflow/registered-models/delete"),
        ("POST", f"{API}mlflow/runs/delete"),
        ("POST", f"{API}mlflow/runs/delete/"),
        ("POST", f"{API}mlflow/runs/%64elete"),
        ("POST", f"{API}mlflow/runs/restore"),
        ("POST", f"{API}mlflow/experiments/delete"),
        ("DELETE", f"{API}mlflow-artifacts/artifacts/1/x"),
    ],
)
async def test_it_refuses_everything_else(method: str, path: str) -> None:
    status, said = await answer(method, path)
    assert status == 403
    assert "of its own run" in said


async def test_it_answers_its_own_stage_alone() -> None:
    for shown in ("", "another", "run-token"):
        assert (await answer("GET", f"{API}mlflow/runs/get", shown=shown))[0] == 401


async def test_it_registers_versions_of_the_run_alone() -> None:
    at = f"{API}mlflow/model-versions/create"
    status, said = await answer("POST", at, json={"name": "m", "run_id": "r1"})
    assert (status, '"run_id": "r1"' in said) == (200, True)
    others: list[object] = [{"run_id": "r2"}, {"name": "m"}, []]
    for other in others:
        status, said = await answer("POST", at, json=other)
        assert (status, "its own run only, r1" in said) == (403, True)


async def test_a_stage_does_not_end_its_own_run_but_those_it_made() -> None:
    at = f"{API}mlflow/runs/update"
    end = {"status": "FINISHED", "end_time": 1, "endTime": 1}
    for name in ("run_id", "runId", "run_uuid"):
        _, said = await answer("POST", at, json={name: "r1", "run_name": "n", **end})
        assert json.loads(said.split(" None ")[1]) == {name: "r1", "run_name": "n"}
    _, said = await answer("POST", at, json={"run_id": "nested", **end})
    assert json.loads(said.split(" None ")[1]) == {"run_id": "nested", **end}


@pytest.mark.parametrize(
    ("method", "path", "request_", "code"),
    [
        ("GET", "/v1/models", {}, (403, "PERMISSION_DENIED")),
        ("GET", "mlflow/runs/get", {"shown": "x"}, (401, "UNAUTHENTICATED")),
        ("OPTIONS", "mlflow/runs/get", {}, (404, "ENDPOINT_NOT_FOUND")),
        ("POST", "mlflow/runs/update", {"content": b"{"}, (400, "INVALID_PARAMETER_VALUE")),
        (
            "POST",
            "mlflow/model-versions/create",
            {"content": b" " * (1 << 21)},
            (413, "INVALID_PARAMETER_VALUE"),
        ),
    ],
)
async def test_every_refusal_has_mlflows_shape(
    method: str, path: str, request_: dict[str, str], code: tuple[int, str]
) -> None:
    at = path if path.startswith("/") else f"{API}{path}"
    status, said = await answer(method, at, **request_)
    refusal = json.loads(said)
    assert (status, refusal["error_code"]) == code
    assert set(refusal) == {"error_code", "message"}


async def test_a_fault_of_our_own_is_told_in_mlflows_shape() -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(broken), base_url="http://registry"
    ) as client:
        proxy = httpx.ASGITransport(
            create_registry_proxy(client, None, "r1", "own"), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=proxy, base_url="http://127.0.0.1") as stage:
            answered = await stage.get(
                f"{API}mlflow/runs/get", headers={"authorization": "Bearer own"}
            )
    assert (answered.status_code, answered.json()["error_code"]) == (500, "INTERNAL_ERROR")


async def test_a_registry_that_is_away_is_said_to_be() -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1") as client:
        proxy = httpx.ASGITransport(create_registry_proxy(client, None, "r1", "own"))
        async with httpx.AsyncClient(transport=proxy, base_url="http://127.0.0.1") as stage:
            headers = {"authorization": "Bearer own"}
            answered = await stage.get(f"{API}mlflow/runs/get", headers=headers)
    assert (answered.status_code, answered.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
