"""Routes, versions and what happens when they change."""

import asyncio
from typing import Any, cast

import httpx
import pytest

from loopwright_common.bus.interface import from_start
from loopwright_common.events import ReplicaReported, ServingMeasured
from tests.scorer.harness import (
    MODEL,
    MODEL_ID,
    ROW,
    Columns,
    ScorerHarness,
    eventually,
    infer_body,
)
from tests.scorer.packages import BREAKS_AT

BAD = {**ROW, "visits": [BREAKS_AT]}


def score(answer: httpx.Response) -> float:
    assert answer.status_code == 200, answer.text
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    return float(outputs["probabilities"][-1])


async def last_report(harness: ScorerHarness) -> ReplicaReported:
    return cast(ReplicaReported, (await harness.events("replica-reported"))[-1])


async def test_the_native_form_answers_as_the_compiled_one(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        arms = [await harness.arm(1, "trained", 0.5), await harness.arm(2, "native", 0.5)]
        await harness.route(1, *arms)
        await replica.serves(1)
        rows: Columns = {
            "age": [20.0, None],
            "visits": [1, 2],
            "job": ["smith", "new"],
            "balance": [0, 1],
        }
        both = [
            (await replica.infer(rows, f"/v2/models/{MODEL}/versions/{v}/infer")).json()["outputs"]
            for v in (1, 2)
        ]

    assert both[0][0] == both[1][0]
    assert both[0][1]["data"] == pytest.approx(both[1][1]["data"], abs=1e-5)


async def test_a_category_that_the_model_does_not_take_is_the_callers_fault(
    harness: ScorerHarness,
) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "strict"))
        await replica.serves(1)
        known = await replica.infer(ROW)
        refused = await replica.infer({**ROW, "job": ["astronaut"]})

    assert known.status_code == 200
    assert refused.status_code == 400
    assert "a category is new to it" in refused.json()["error"]


async def test_a_tensor_signature_is_one_input(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "summing"))
        await replica.serves(1)
        pixels = {"name": "pixels", "datatype": "FP32", "shape": [2, 2, 2]}
        body = {"inputs": [{**pixels, "data": [[[1, 2], [3, 4]], [[5, 6], [7, 8.5]]]}]}
        answer = await replica.http.post(f"/v2/models/{MODEL}/infer", json=body)
        wrong = {"inputs": [{**pixels, "shape": [1, 4], "data": [1, 2, 3, 4]}]}
        refused = await replica.http.post(f"/v2/models/{MODEL}/infer", json=wrong)

    assert answer.json()["outputs"][0]["data"] == [10, 26.5]
    assert "pixels (FP64 [rows, 2, 2])" in refused.json()["error"]


async def test_a_hot_swap_under_load_fails_no_call(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        arms = {0.25: await harness.arm(1, "low"), 0.75: await harness.arm(2, "high")}
        await harness.route(1, arms[0.25])
        await replica.serves(1)
        stop = asyncio.Event()

        async def call() -> list[float]:
            scores = []
            while not stop.is_set():
                scores.append(score(await replica.infer(ROW)))
                await asyncio.sleep(0.002)
            return scores

        callers = [asyncio.create_task(call()) for _ in range(4)]
        for revision in range(2, 22):
            await harness.route(revision, arms[0.75 if revision % 2 == 0 else 0.25])
            await replica.serves(revision)
        stop.set()
        scores = [score for caller in callers for score in await caller]

    assert set(scores) == {0.25, 0.75}


async def test_a_lower_revision_never_replaces_a_higher_one(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(5, await harness.arm(2, "high"))
        await replica.serves(5)
        await harness.route(4, await harness.arm(1, "low"))
        await harness.route(6, await harness.arm(3, "high"))
        await replica.serves(6)

        assert score(await replica.infer(ROW)) == 0.75


async def test_a_damaged_package_is_never_served_and_is_reported(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)
        bad = await harness.arm(2, "high", 0.5)
        for blob in (harness.directory / "artifacts" / "sha256").rglob("*"):
            if blob.is_file() and b"brittle" in blob.read_bytes():
                blob.write_bytes(blob.read_bytes() + b"x")
        await harness.route(2, await harness.arm(1, "low", 0.5), bad)

        async def problem() -> dict[str, str]:
            return next((r.problems for r in (await last_report(harness)).routes), {})

        problems = await eventually(problem)
        assert score(await replica.infer(ROW)) == 0.25
        assert await replica.revision() == 1

    assert "damaged" in problems["2"]


async def test_a_package_that_cannot_answer_its_example_is_reported(harness: ScorerHarness) -> None:
    spec = harness.package_dirs["low"] / "loopwright.json"
    broken = harness.directory / "broken"
    broken.mkdir()
    (broken / "model.onnx").write_bytes((harness.package_dirs["low"] / "model.onnx").read_bytes())
    (broken / "loopwright.json").write_text(spec.read_text().replace("[2]", "[200]"))
    harness.package_dirs = {**harness.package_dirs, "broken": broken}
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "broken"))

        async def items_shown() -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = (await replica.http.get("/v1/models")).json()["items"]
            return items

        items = await eventually(items_shown)

    assert items[0]["revision"] == 0
    assert "does not answer its own example" in items[0]["problems"]["1"]


async def test_it_starts_without_bus_and_store_from_what_it_remembers(
    harness: ScorerHarness,
) -> None:
    async with harness.replica() as replica:
        await harness.route(3, await harness.arm(1, "low"))
        await replica.serves(3)
    (harness.directory / "artifacts").rename(harness.directory / "gone")
    harness.bus = Unreachable()  # type: ignore[assignment]

    async with harness.replica() as replica:
        await replica.serves(3)

        assert score(await replica.infer(ROW)) == 0.25

        async def is_ready() -> bool:
            return (await replica.http.get("/readyz")).status_code == 200

        await eventually(is_ready)


async def test_a_package_damaged_on_disk_is_fetched_anew(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)
    for path in (harness.directory / "cache" / "packages").rglob("model.onnx"):
        path.write_bytes(b"nonsense")

    async with harness.replica() as replica:
        await replica.serves(1)

        assert score(await replica.infer(ROW)) == 0.25


async def test_packages_that_no_route_names_are_forgotten(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)
        high = await harness.arm(2, "high")
        await harness.route(2, high)
        await replica.serves(2)

        async def kept() -> bool:
            packages = harness.directory / "cache" / "packages"
            return [path.name for path in packages.iterdir()] == [high.digest.split(":")[1]]

        await eventually(kept)


async def test_a_routing_key_decides_and_otherwise_the_named_input(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        arms = [await harness.arm(1, "low", 0.5), await harness.arm(2, "high", 0.5)]
        await harness.route(1, *arms, routing_key="job")
        await replica.serves(1)
        by_key = [
            [score(await replica.infer(ROW, loopwright_routing_key=f"k{i}")) for i in range(30)]
            for _ in range(2)
        ]
        by_input = {score(await replica.infer({**ROW, "job": ["nurse"]})) for _ in range(20)}

    assert by_key[0] == by_key[1]
    assert set(by_key[0]) == {0.25, 0.75}
    assert len(by_input) == 1


async def test_five_server_errors_in_a_row_take_the_canary_out(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        arms = [await harness.arm(1, "trained", 0.01), await harness.arm(2, "high", 0.99)]
        await harness.route(1, *arms)
        await replica.serves(1)
        statuses: list[int] = []
        async with asyncio.timeout(60):
            while statuses[-10:] != [200] * 10:
                statuses.append((await replica.infer(BAD)).status_code)
                await asyncio.sleep(0.001)

        async def tripped() -> dict[str, str]:
            return next((r.tripped for r in (await last_report(harness)).routes), {})

        reasons = await eventually(tripped)

    measured = [cast(ServingMeasured, m) for m in await harness.events("serving-measured")]
    # The champion is asked about each once it is answered, while others come.
    assert statuses.count(500) >= 5
    assert "5 server errors in a row" in reasons["2"]
    assert max(m.errors for m in measured if m.version == 2) >= 5


async def test_the_only_arm_is_never_taken_out(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)
        statuses = {(await replica.infer(BAD)).status_code for _ in range(10)}

        assert statuses == {500}
        assert score(await replica.infer(ROW)) == 0.25


async def test_counters_are_cumulative_per_revision_and_version(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)
        for _ in range(3):
            await replica.infer({name: data * 2 for name, data in ROW.items()})
        await replica.infer(BAD)
        await replica.infer({"age": [1.0]})
        await replica.infer(ROW, f"/v2/models/{MODEL}/versions/1/infer")

    measured = cast(ServingMeasured, (await harness.events("serving-measured"))[-1])
    assert (measured.calls, measured.rows, measured.errors) == (4, 6, 1)
    assert sum(measured.latency_counts) == 4
    assert measured.score_counts == [0, 0, 6, 0, 0, 0, 0, 0, 0, 0]


async def test_a_replica_that_stops_leaves_the_table(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)

        async def is_told() -> bool:
            routes = (await last_report(harness)).routes
            return [(r.model_id, r.revision) for r in routes] == [(MODEL_ID, 1)]

        await eventually(is_told)

    subscription = await harness.bus.subscribe(None, ["replica-reported"], from_start)
    records = await subscription.fetch(100, 0)
    assert records[-1].value == b""


async def test_shadow_arms_are_recorded_and_never_answer(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await harness.route(
            1, await harness.arm(1, "low"), await harness.arm(2, "high", 0.0, role="shadow")
        )
        await replica.serves(1)
        scores = {score(await replica.infer(ROW)) for _ in range(5)}
        wanted = infer_body(ROW)
        assert (await replica.http.post(f"/v2/models/{MODEL}/infer", json=wanted)).is_success

    shadows = [m for m in await harness.events("serving-measured") if m.role == "shadow"]  # type: ignore[attr-defined]
    assert scores == {0.25}
    assert cast(ServingMeasured, shadows[-1]).calls == 6


class Unreachable:
    """A bus that is away."""

    def __getattr__(self, name: str) -> object:
        from loopwright_common.errors import UnavailableError

        async def away(*_: object) -> None:
            raise UnavailableError("the bus is away")

        return away
