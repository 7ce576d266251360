"""Who goes while their call waits is not computed for; what has begun is finished, and counts."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tritonclient.grpc.aio as triton

from loopwright.ports import free_port
from loopwright_common.cloudevents.inference_logged import InferenceLogged
from loopwright_scorer.inference.batch_queue import PendingCall
from tests.scorer import isolated_packages
from tests.scorer.harness import MODEL, Replica, ScorerHarness, eventually
from tests.scorer.listening import INFER, Listener, listening, request
from tests.scorer.models.test_memory_manager import states

ABANDONED = "loopwright_calls_abandoned_total"
WAITING = "loopwright_compute_waiting"
NAP = 1.0
"""How long the version is busy, in seconds; to be gone takes milliseconds."""


@asynccontextmanager
async def napping(
    harness: ScorerHarness, directory: Path, **changed: Any
) -> AsyncGenerator[Replica]:
    """A version that takes as long as it is told to, in s, and answers that."""
    harness.package_dirs = {**harness.package_dirs, "naps": isolated_packages.mischief(directory)}
    async with harness.replica(**changed) as replica:
        await harness.route(1, await harness.arm(1, "naps"))
        await replica.serves(1)
        yield replica


def row(argument: float) -> list[float]:
    return [isolated_packages.ACTS.index("nap"), argument]


def v2(argument: float, path: str = INFER) -> bytes:
    tensor = {"name": "act", "datatype": "FP64", "shape": [1, 2], "data": row(argument)}
    return request(json.dumps({"inputs": [tensor]}).encode(), path=path)


def v1(argument: float) -> bytes:
    path = f"/v1/models/{MODEL}:predict"
    return request(json.dumps({"instances": [row(argument)]}).encode(), path=path)


def mlflow(argument: float) -> bytes:
    body = json.dumps({"inputs": [row(argument)]}).encode()
    path = f"/models/{MODEL}/invocations"
    return request(body, "content-type: application/json", path=path)


def over_grpc(client: Any, argument: float) -> Any:
    """A call that is under way."""
    tensor = triton.InferInput("act", [1, 2], "FP64")
    tensor.set_data_from_numpy(np.array([row(argument)]))
    return asyncio.create_task(client.infer(MODEL, [tensor]))


async def until(replica: Replica, metric: str, value: float) -> None:
    async def is_so() -> bool:
        return replica.metric(metric) == value

    await eventually(is_so)


async def leave(there: Listener, replica: Replica, content: bytes) -> None:
    """Ask behind one that is computed, and go when the call waits."""
    client = await there.connect()
    client.writer.write(content)
    await until(replica, WAITING, 2)
    client.close()
    await until(replica, WAITING, 1)


def kept() -> int:
    """The calls in memory, waiting or not."""
    return sum(isinstance(each, PendingCall) for each in gc.get_objects())


async def recorded(harness: ScorerHarness) -> list[float]:
    """What each recorded call was answered."""
    batches = cast(list[InferenceLogged], await harness.events(InferenceLogged.topic))
    rows = [row for batch in batches if not batch.last for row in batch.table.to_pylist()]
    return [each["output.score"] for each in rows]


async def test_whose_client_has_gone_before_its_turn_is_not_computed(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    async with napping(harness, tmp_path / "naps") as replica, listening(replica.service) as there:
        gc.collect()
        before = kept()  # not during the nap: on a busy machine it takes as long
        first = await there.connect()
        first.writer.write(v2(NAP))
        await until(replica, WAITING, 1)
        for ask in (v2, v1, mlflow):
            await leave(there, replica, ask(0.5))
        after = kept()
        abandoned = replica.metric(ABANDONED)
        answers = [await first.answer()]
        first.writer.write(v2(0.0))
        answers.append(await first.answer())

    assert after == before + 1
    assert abandoned == 3
    assert [answer.json()["outputs"][0]["data"] for answer in answers] == [[NAP], [0.0]]
    assert await recorded(harness) == [NAP, 0.0]


async def test_what_has_begun_is_finished_and_recorded_though_its_client_has_gone(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    async with napping(harness, tmp_path / "naps") as replica, listening(replica.service) as there:
        client = await there.connect()
        client.writer.write(v2(0.2))
        await until(replica, WAITING, 1)
        client.close()
        await until(replica, WAITING, 0)
        abandoned = replica.metric(ABANDONED)

    assert abandoned == 0
    assert await recorded(harness) == [0.2]


async def test_calls_cancelled_over_grpc_are_the_same(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    port = free_port()
    async with (
        napping(harness, tmp_path / "naps", grpc_port=port) as replica,
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        begun = over_grpc(client, NAP)
        await until(replica, WAITING, 1)
        behind = over_grpc(client, 0.5)
        await until(replica, WAITING, 2)
        behind.cancel()
        begun.cancel()
        await until(replica, ABANDONED, 1)
        assert replica.metric(WAITING) == 1
        await until(replica, WAITING, 0)
        for call in (begun, behind):
            with pytest.raises(asyncio.CancelledError):
                await call

    assert await recorded(harness) == [NAP]


async def test_requests_sent_ahead_are_answered_in_order(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    async with napping(harness, tmp_path / "naps") as replica, listening(replica.service) as there:
        client = await there.connect()
        client.writer.write(v2(0.1) + v2(0.2))
        await until(replica, WAITING, 1)
        client.writer.write(v2(0.0))
        answers = [(await client.answer()).json() for _ in range(3)]

    assert [answer["outputs"][0]["data"] for answer in answers] == [[0.1], [0.2], [0.0]]


async def test_nobody_waits_for_a_version_to_be_loaded_when_its_caller_has_gone(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    naps = isolated_packages.mischief(tmp_path / "naps")
    harness.package_dirs = {**harness.package_dirs, "naps": naps}
    async with harness.replica(memory_budget=1) as replica, listening(replica.service) as there:
        kept = [await harness.arm(2, "naps", 0)]
        await harness.route(1, await harness.arm(1, "low"), kept=kept)
        await replica.serves(1)
        before = await states(replica)
        client = await there.connect()
        client.writer.write(v2(0.0, f"/v2/models/{MODEL}/versions/2/infer"))
        await until(replica, WAITING, 1)
        client.close()
        await until(replica, WAITING, 0)
        after = await states(replica)
        abandoned = replica.metric(ABANDONED)

    assert before == after
    assert abandoned == 1
