"""Versions without traffic leave memory and come back when they are asked for."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from tests.scorer import isolated_packages
from tests.scorer.harness import MODEL, ROW, Replica, ScorerHarness, eventually
from tests.scorer.isolated.test_runtime import LIMITS, answered, processes

EVICTED = "loopwright_evictions_total"
NAMED = f"/v2/models/{MODEL}/versions/{{}}"


@asynccontextmanager
async def serving(harness: ScorerHarness, **changed: Any) -> AsyncGenerator[Replica]:
    """Version 1 has the traffic, 2 and 3 can be named."""
    async with harness.replica(**changed) as replica:
        kept = [await harness.arm(2, "high", 0), await harness.arm(3, "trained", 0)]
        await harness.route(1, await harness.arm(1, "low"), kept=kept)
        await replica.serves(1)
        yield replica


async def repository(replica: Replica, path: str) -> tuple[int, Any]:
    answer = await replica.http.post(f"/v2/repository/{path}")
    return answer.status_code, answer.json()


async def states(replica: Replica) -> dict[str, tuple[str, str]]:
    _, index = await repository(replica, "index")
    return {entry["version"]: (entry["state"], entry["reason"]) for entry in index}


async def test_past_the_budget_only_versions_with_traffic_stay(harness: ScorerHarness) -> None:
    async with serving(harness, memory_budget=1) as replica:
        away = ("READY", "not in memory; the next call loads it")
        assert await states(replica) == {"1": ("READY", ""), "2": away, "3": away}
        assert replica.metric(EVICTED) == 2
        package = harness.package_dirs["low"] / "model.onnx"
        assert replica.metric("loopwright_loaded_bytes") >= package.stat().st_size
        metadata = await replica.http.get(NAMED.format(3))

    assert [declared["name"] for declared in metadata.json()["inputs"]] == list(ROW)


async def test_within_the_budget_all_versions_stay(harness: ScorerHarness) -> None:
    async with serving(harness) as replica:
        assert {reason for _, reason in (await states(replica)).values()} == {""}
        assert replica.metric(EVICTED) == 0


async def test_a_version_put_out_is_loaded_once_for_all_who_name_it(harness: ScorerHarness) -> None:
    async with serving(harness, memory_budget=1) as replica:
        with capture_logs() as logs:
            calls = (replica.infer(ROW, NAMED.format(2) + "/infer") for _ in range(8))
            answers = await asyncio.gather(*calls)
        await replica.infer(ROW, NAMED.format(3) + "/infer")

        assert (await states(replica))["2"][1]
        assert not (await states(replica))["3"][1]

    assert [answer.json()["model_version"] for answer in answers] == ["2"] * 8
    assert [log["event"] for log in logs].count("version.loaded") == 1


async def test_a_version_that_gets_traffic_again_is_back_in_memory(harness: ScorerHarness) -> None:
    async with serving(harness, memory_budget=1) as replica:
        await harness.route(2, await harness.arm(2, "high"), kept=[await harness.arm(1, "low", 0)])
        await replica.serves(2)

        assert (await states(replica))["2"] == ("READY", "")
        assert (await states(replica))["1"][1]
        assert (await replica.infer(ROW)).json()["model_version"] == "2"


async def test_what_is_unloaded_is_not_there_until_it_is_loaded(harness: ScorerHarness) -> None:
    async with serving(harness) as replica:
        assert await repository(replica, f"models/{MODEL}@2/unload") == (200, {})
        assert (await states(replica))["2"] == ("UNAVAILABLE", "unloaded")
        refused = await replica.infer(ROW, NAMED.format(2) + "/infer")
        ready = await replica.http.get(NAMED.format(2) + "/ready")
        assert await repository(replica, f"models/{MODEL}/load") == (200, {})
        answer = await replica.infer(ROW, NAMED.format(2) + "/infer")

    assert (refused.status_code, ready.status_code) == (404, 404)
    assert f"POST /v2/repository/models/{MODEL}@2/load" in refused.json()["error"]
    assert answer.json()["model_version"] == "2"


async def test_what_has_traffic_is_not_unloaded(harness: ScorerHarness) -> None:
    async with serving(harness) as replica:
        for name in (MODEL, f"{MODEL}@1", f"{MODEL}@champion"):
            status, told_why = await repository(replica, f"models/{name}/unload")
            assert status == 403
            assert "its route serves it" in told_why["error"]
        assert (await replica.infer(ROW)).status_code == 200
        assert await repository(replica, f"models/{MODEL}@7/unload") == (
            404,
            {"error": f"model '{MODEL}' has no version @7 here, only @champion"},
        )


async def test_a_process_of_its_own_ends_with_the_eviction_and_starts_with_the_next_call(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    harness.package_dirs = {
        **harness.package_dirs,
        "mischief": isolated_packages.mischief(tmp_path / "mischief"),
    }
    async with harness.replica(memory_budget=1, **LIMITS) as replica:
        kept = [await harness.arm(2, "mischief", 0)]
        await harness.route(1, await harness.arm(1, "low"), kept=kept)
        await replica.serves(1)

        async def gone() -> bool:
            return not processes(harness)

        await eventually(gone)
        assert await answered(replica, "answer", 7.0) == 7.0
        assert processes(harness)
