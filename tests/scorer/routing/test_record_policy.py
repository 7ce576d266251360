"""What the deploy policy keeps out of records: calls beyond the share, and redacted inputs."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from loopwright_common.deploy_policy import RecordPolicy
from loopwright_common.errors import UnavailableError
from loopwright_common.ids import new_id
from loopwright_scorer.recording.record_buffer import is_kept
from loopwright_scorer.routing.record_policy import redacted_error
from tests.scorer import packages
from tests.scorer.harness import MODEL, ROW, Replica, ScorerHarness, eventually
from tests.scorer.packages import BREAKS_AT
from tests.scorer.recording.test_recorder import batches, cut, logged

SECRET = "Rumpelstiltskin"
HIDDEN = RecordPolicy(redact=["job", "visits"])


async def start(harness: ScorerHarness, replica: Replica, policy: RecordPolicy, *more: Any) -> None:
    await harness.route(1, await harness.arm(1, "low"), *more, record=policy)
    await replica.serves(1)


def spilled_bodies(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("*.batch")]


def metric(replica: Replica, what: str) -> float:
    return replica.metric(f"loopwright_inference_rows_{what}_total")


async def test_rows_that_are_not_sampled_are_counted_and_leave_no_gap(
    harness: ScorerHarness,
) -> None:
    async with harness.replica() as replica:
        await start(harness, replica, RecordPolicy(sample=0.3))
        for _ in range(60):
            assert (await replica.infer(ROW)).status_code == 200
    rows = (await logged(harness)).num_rows
    sent = await batches(harness)

    assert 0 < rows < 60
    assert metric(replica, "left_out") == 60 - rows
    assert [batch.sequence for batch in sent] == list(range(len(sent)))
    assert {batch.dropped for batch in sent} == {0}


async def test_live_and_shadow_rows_of_a_call_are_sampled_together(harness: ScorerHarness) -> None:
    shadow = await harness.arm(2, "high", weight=0.0, role="shadow")
    async with harness.replica() as replica:
        await start(harness, replica, RecordPolicy(sample=0.5), shadow)
        for _ in range(30):
            await replica.infer(ROW)

        async def all_are_accounted_for() -> bool:
            kept = sum(int(batch.table.num_rows) for batch in await batches(harness))
            return kept + metric(replica, "left_out") == 60

        await eventually(all_are_accounted_for)

    found: dict[str, set[str]] = {"live": set(), "shadow": set()}
    for row in (await logged(harness)).to_pylist():
        found[row["arm"]].add(row["prediction_id"][:36])
    assert found["live"] == found["shadow"] != set()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_kept_is_the_share_wanted(share: float) -> None:
    policy = RecordPolicy(sample=share)
    kept = sum(is_kept(policy, f"{new_id()}-v1-00000000") for _ in range(4000))

    assert abs(kept - 4000 * share) <= 5 * (4000 * share * (1 - share)) ** 0.5


async def test_redacted_inputs_leave_the_process_nowhere(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    failing = cut(harness)
    async with harness.replica() as replica:
        await start(harness, replica, HIDDEN)
        await replica.infer({**ROW, "job": [SECRET]})

        async def spilled() -> bool:
            return replica.metric("loopwright_inference_spill_batches") > 0

        await eventually(spilled)
        files = spilled_bodies(tmp_path)
        failing.away = False

        async def sent() -> bool:
            return replica.metric("loopwright_inference_spill_batches") == 0

        await eventually(sent)
    (first, *_) = await batches(harness)

    assert files
    assert not any(SECRET.encode() in body for body in files)
    assert "input.age" in first.table.column_names
    assert not {"input.job", "input.visits"} & set(first.table.column_names)
    assert set(first.redacted) == {"job", "visits"}


async def test_errors_quote_nothing_where_inputs_are_redacted(
    harness: ScorerHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = await harness.arm(2, "high", weight=0.9)
    async with harness.replica() as replica:
        champion = await harness.arm(1, "trained", weight=0.1)
        await harness.route(1, champion, canary, record=HIDDEN)
        await replica.serves(1)
        for _ in range(20):
            await replica.infer({**ROW, "visits": [BREAKS_AT]})

        async def why() -> str | None:
            arms = (await replica.http.get("/v1/models")).json()["items"][0]["arms"]
            return cast(str | None, arms[0]["why"])

        tripped = await eventually(why)
    errors = {row["error"] for row in (await logged(harness)).to_pylist() if row["error"]}

    assert errors
    assert all("its text is left out" in error for error in errors)
    assert "its text is left out" in str(tripped)
    assert "indices element out of data bounds" not in capsys.readouterr().out


def test_an_error_without_redaction_is_told_whole() -> None:
    assert redacted_error(RecordPolicy(), "ValueError: 'x'") == "ValueError: 'x'"
    assert redacted_error(HIDDEN, "ValueError: 'x'").startswith("ValueError (")
    assert redacted_error(HIDDEN, "x: y z").startswith("x (")
    assert redacted_error(HIDDEN, "no number for 'x'").startswith("the version failed (")


@pytest.fixture
def large(harness: ScorerHarness, tmp_path: Path) -> Sequence[float]:
    """An image of 100 values, for which there is a package."""
    harness.package_dirs = {
        **harness.package_dirs,
        "image": packages.summing(tmp_path / "image", [10, 10]),
    }
    return [float(i) for i in range(200)]


async def post_image(replica: Replica, values: Sequence[float]) -> None:
    image = {"name": "pixels", "datatype": "FP64", "shape": [2, 10, 10], "data": values}
    answer = await replica.http.post(f"/v2/models/{MODEL}/infer", json={"inputs": [image]})
    assert answer.status_code == 200, answer.text


async def test_a_large_tensor_is_kept_in_the_store_by_digest(
    harness: ScorerHarness, large: Sequence[float]
) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "image"))
        await replica.serves(1)
        await post_image(replica, large)

    one, two = (await logged(harness)).to_pylist()
    kept = np.load(io.BytesIO(await harness.store.get(one["input.pixels"])))
    assert two["input.pixels"] == one["input.pixels"]
    assert kept.reshape(-1).tolist() == list(large)


async def test_a_large_redacted_tensor_is_not_kept(
    harness: ScorerHarness, large: Sequence[float]
) -> None:
    async with harness.replica() as replica:
        policy = RecordPolicy(redact=["pixels"])
        await harness.route(1, await harness.arm(1, "image"), record=policy)
        await replica.serves(1)
        await post_image(replica, large)

    (batch, *_) = await batches(harness)
    assert batch.redacted == ("pixels",)
    assert "input.pixels" not in batch.table.column_names
    assert replica.metric("loopwright_inference_arrays_kept_total") == 0


async def test_rows_are_logged_without_the_arrays_that_the_store_does_not_take(
    harness: ScorerHarness, large: Sequence[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with harness.replica() as replica:
        await harness.route(1, await harness.arm(1, "image"))
        await replica.serves(1)

        async def full(*_: object) -> None:
            raise UnavailableError("no room")

        monkeypatch.setattr("loopwright_common.storage.filesystem.FilesystemStore.put", full)
        await post_image(replica, large)

    rows = (await logged(harness)).to_pylist()
    assert [row["input.pixels"] for row in rows] == [None, None]
    assert replica.metric("loopwright_inference_arrays_dropped_total") == 1
