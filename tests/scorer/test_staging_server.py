"""Real processes: the staging scorer as the deployer drives it, and foreign clients."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from loopwright_scorer import staging_server
from tests.scorer import harmful_packages
from tests.scorer.harness import ROW, infer_body

TRITON = """
import sys, numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("bank", "3")
metadata = client.get_model_metadata("bank")
rows = {"age": [41.0, 30.5], "visits": [2, 0], "job": ["clerk", "nurse"], "balance": [1.5, 0.0]}
inputs = []
for declared in metadata["inputs"]:
    kind = triton.InferInput(declared["name"], [2], declared["datatype"])
    data = np.array(rows[declared["name"]], object if declared["datatype"] == "BYTES" else None)
    kind.set_data_from_numpy(data, binary_data=False)
    inputs.append(kind)
wanted = [triton.InferRequestedOutput(o["name"], binary_data=False) for o in metadata["outputs"]]
answer = client.infer("bank", inputs, outputs=wanted, request_id="mine")
again = client.infer("bank", inputs, outputs=wanted, model_version="3")
assert answer.get_response()["id"] == "mine"
assert answer.as_numpy("probabilities").shape == (2, 2)
assert (answer.as_numpy("label") == again.as_numpy("label")).all()
try:
    client.infer("nobody", inputs)
except triton.InferenceServerException as error:
    print(error.message())
"""


@asynccontextmanager
async def staging(order: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loopwright_scorer.main", "--static"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(order.encode() + b"\n")
        await process.stdin.drain()
        opening = json.loads(await process.stdout.readline())
        assert opening == {"opening": "model.onnx (onnx)"}
        yield process, json.loads(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


def order(package: Path, **changed: object) -> str:
    return json.dumps({"package": str(package), "model": "bank", "version": 3, **changed})


async def test_a_staging_process_serves_its_package_until_input_ends(
    package_dirs: dict[str, Path],
) -> None:
    async with staging(order(package_dirs["trained"])) as (process, started):
        async with httpx.AsyncClient(base_url=started["url"], trust_env=False) as http:
            answer = await http.post("/v2/models/bank/infer", json=infer_body(ROW))
            ready = await http.get("/readyz")
        status, printed = await triton_client(started["url"])

    assert answer.json()["model_version"] == "3"
    assert ready.status_code == 200
    assert process.returncode == 0
    assert status == 0
    assert "no model 'nobody' is served here; served: bank" in printed


async def test_a_graph_that_is_not_proven_is_staged_in_a_process_of_its_own(tmp_path: Path) -> None:
    async with (
        staging(order(harmful_packages.endless(tmp_path / "endless"))) as (_, started),
        httpx.AsyncClient(base_url=started["url"], trust_env=False) as http,
    ):
        tensor = {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [1.0]}
        answer = await http.post("/v2/models/bank/infer", json={"inputs": [tensor]})

    assert answer.json()["outputs"][0]["data"] == [1.0]


async def triton_client(url: str) -> tuple[int | None, str]:
    """Exit status and output of an unmodified tritonclient in JSON mode."""
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", TRITON, url.removeprefix("http://")),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await client.communicate()
    return client.returncode, printed.decode()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"model": "bank", "version": 3}', "package: Field required"),
        ("nonsense", "Invalid JSON"),
        (order(Path("/nowhere")), "loopwright.json: No such file or directory"),
    ],
)
def test_a_wrong_order_is_refused_with_the_reason(
    line: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line + "\n"))
    answers = io.StringIO()

    status = staging_server.main(answers)

    assert status == 1
    assert says in json.loads(answers.getvalue().splitlines()[-1])["error"]
