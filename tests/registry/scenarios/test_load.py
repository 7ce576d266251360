"""Many clients and several replicas at once: right results, and never a fault."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.delivery.handlers import bind
from loopwright_common.events import DeploymentPromoted
from loopwright_registry.versions.handlers import HANDLERS
from tests.registry.builders import (
    FILES,
    call,
    emitted,
    happened,
    new_run,
    packaged_run,
    register,
    send,
)
from tests.registry.harness import RegistryHarness, Serve
from tests.registry.scenarios.mlflow_load import CLIENTS, STEPS, TAKEN

LOAD = Path(__file__).parent / "mlflow_load.py"


async def run_load(url: str, run_id: str, home: Path) -> list[dict[str, Any]]:
    """What a process full of clients did."""
    environment = {**os.environ, "HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true",
                   "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(LOAD), url, run_id, cwd=home, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-4000:]
    found: list[dict[str, Any]] = json.loads(out.decode().splitlines()[-1])
    return found


async def test_plain_clients_of_all_replicas_get_in_nobodys_way(
    serve: Serve, tmp_path: Path, database_url: str
) -> None:
    replicas = [await serve() for _ in range(2 if "postgresql" in database_url else 1)]
    run_id = await new_run(replicas[0])

    loads = [run_load(str(replica.base_url), run_id, tmp_path) for replica in replicas]
    told = [each for found in await asyncio.gather(*loads) for each in found]

    for which in (0, 1):
        outcomes = sorted(each["outcomes"][which] for each in told)
        assert outcomes == [TAKEN] * (len(told) - 1) + ["created"]
    versions = sorted(number for each in told for number in each["versions"])
    assert versions == list(range(1, len(replicas) * CLIENTS * STEPS + 1))
    run = (await call(replicas[0], "GET", "runs/get", run_id=run_id))["run"]["data"]
    assert {m["value"] for m in run["metrics"]} == {CLIENTS - 1 + (STEPS - 1) / 10}
    assert len(run["params"]) == CLIENTS
    best = (await replicas[0].get("/v1/models/shared/versions/@best")).json()
    assert best["tags"]["by"] in {str(number) for number in range(CLIENTS)}


async def test_a_pipeline_run_that_registers_twice_at_once_gets_one_version(
    client: httpx.AsyncClient, database: Database
) -> None:
    run_id = await packaged_run(client)

    again = [register(client, run_id, tags={"loopwright.run": "p-1"}) for _ in range(4)]
    numbers = {version["version"] for version in await asyncio.gather(*again)}

    assert numbers == {"1"}
    assert [event["version"] for event in await emitted(database)] == [1]


async def test_a_parameter_set_twice_at_once_has_one_value(client: httpx.AsyncClient) -> None:
    run_id = await new_run(client)

    answers = await asyncio.gather(
        *(
            send(client, "POST", "runs/log-parameter", run_id=run_id, key="p", value=str(n % 2))
            for n in range(8)
        )
    )

    run = (await call(client, "GET", "runs/get", run_id=run_id))["run"]
    [kept] = run["data"]["params"]
    assert [answer.status_code == 200 for answer in answers] == [
        str(n % 2) == kept["value"] for n in range(8)
    ]


async def test_a_path_is_never_both_a_file_and_a_directory(client: httpx.AsyncClient) -> None:
    paths = ["0/r/a", "0/r/a/b", "0/r/a/b/c"] * 2

    answers = await asyncio.gather(*(client.put(f"{FILES}/{path}", content=b"x") for path in paths))

    assert {answer.status_code for answer in answers} == {200, 409}
    done = {path for path, answer in zip(paths, answers, strict=True) if answer.status_code == 200}
    assert len(done) == 1


async def test_names_taken_at_once_have_one_owner(client: httpx.AsyncClient) -> None:
    for name in "abcd":
        await call(client, "POST", "registered-models/create", name=name)

    renamed = await asyncio.gather(
        *(send(client, "POST", "registered-models/rename", name=n, new_name="x") for n in "abcd")
    )

    assert sorted(answer.status_code for answer in renamed) == [200, 400, 400, 400]


async def test_two_members_of_the_group_agree_on_the_champion(
    client: httpx.AsyncClient, database: Database, bus: SqliteBus
) -> None:
    run_id = await packaged_run(client)
    for _ in range(3):
        await register(client, run_id)
    model_id = (await client.get("/v1/models")).json()["items"][0]["model_id"]
    members = [
        RegistryHarness(database, bus, f"registry.{n}", bind(HANDLERS, "production"))
        for n in range(2)
    ]
    facts = [
        happened(
            DeploymentPromoted(
                deployment_id=f"d{version}", environment="production", model_id=model_id,
                model="m", version=version, why="it is better",
            ),
            f"promoted-{version}", version, f"models/m/versions/{version}",
        )
        for version in (1, 2, 3)
    ]  # fmt: skip

    await asyncio.gather(members[0].deliver(*facts), members[1].deliver())

    assert (await client.get("/v1/models")).json()["items"][0]["aliases"] == {"champion": 3}
    told = [event["version"] for event in await emitted(database, "alias-changed")]
    assert told[-1] == 3
    assert len(set(told)) == len(told)
