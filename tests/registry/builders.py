"""What most registry tests begin with, over HTTP as a client would."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import sqlalchemy as sa

from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import outbox
from loopwright_common.database.unit_of_work import Cause
from loopwright_common.events import Event, EventData

START = datetime(2026, 1, 1, tzinfo=UTC)
API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn}
  sklearn: {serialization_format: skops, pickled_model: model.skops}
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}]'
  outputs: '[{"type": "long", "required": true}]'
"""
CAUSE = Cause("chain-1", ("commit-event",), "00-" + "1" * 32 + "-" + "2" * 16 + "-01")
CAUSE_HEADER = {"loopwright-cause": json.dumps(CAUSE.to_json())}


async def call(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    **fields: object,
) -> dict[str, Any]:
    """The answer's fields; the test fails when the answer is an error."""
    answer = await send(client, method, path, headers, **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def send(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> httpx.Response:
    if method == "GET":
        return await client.get(f"{API}/{path}", params=fields, headers=headers)
    return await client.request(method, f"{API}/{path}", json=fields, headers=headers)


async def error(
    client: httpx.AsyncClient, method: str, path: str, **fields: Any
) -> tuple[int, str]:
    """Status and error code of an answer that is an error."""
    answer = await send(client, method, path, **fields)
    return answer.status_code, answer.json()["error_code"]


async def new_run(client: httpx.AsyncClient, **tags: str) -> str:
    given = [{"key": key.replace("__", "."), "value": value} for key, value in tags.items()]
    answer = await call(
        client, "POST", "runs/create", experiment_id="0", start_time=1_700_000_000_000, tags=given
    )
    return str(answer["run"]["info"]["run_id"])


async def upload(client: httpx.AsyncClient, path: str, content: bytes | str) -> None:
    answer = await client.put(f"{FILES}/{path}", content=content)
    assert answer.status_code == 200, answer.text


async def packaged_run(client: httpx.AsyncClient, mlmodel: str = MLMODEL, **tags: str) -> str:
    """A run with a package among its artifacts."""
    run_id = await new_run(client, **tags)
    await upload(client, f"0/{run_id}/artifacts/package/MLmodel", mlmodel)
    await upload(client, f"0/{run_id}/artifacts/package/model.skops", f"bytes of {run_id}")
    return run_id


async def hold_run(
    client: httpx.AsyncClient, run_id: str, token: str, attempt: int
) -> httpx.Response:
    """Let only this attempt, which sends the token, write to the run."""
    body = {"sha256": hashlib.sha256(token.encode()).hexdigest(), "attempt": attempt}
    return await client.put(f"/v1/runs/{run_id}/token", json=body)


async def register(
    client: httpx.AsyncClient,
    run_id: str,
    headers: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """A new version of the model `m` from the run's package."""
    await send(client, "POST", "registered-models/create", name="m")
    given = [{"key": key, "value": value} for key, value in (tags or {}).items()]
    answer = await call(
        client, "POST", "model-versions/create", headers,
        name="m", source=source or f"runs:/{run_id}/package", tags=given,
    )  # fmt: skip
    version: dict[str, Any] = answer["model_version"]
    return version


def happened(
    data: EventData, id: str, minutes: int, subject: str, causes: tuple[str, ...] = ()
) -> Event[EventData]:
    """A fact of another service."""
    return Event(
        id=id,
        source="loopwright/elsewhere",
        subject=subject,
        time=START + timedelta(minutes=minutes),
        key=subject,
        chain_id="chain-1",
        causes=causes,
        traceparent="",
        data=data,
    )


async def emitted(database: Database, topic: str = "model-registered") -> list[dict[str, Any]]:
    """Data and headers of what waits in the outbox."""
    query = sa.select(outbox).where(outbox.c.aggregatetype == topic).order_by(outbox.c.position)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return [{**json.loads(row.payload), "headers": row.headers} for row in rows]
