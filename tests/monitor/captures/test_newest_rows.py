"""Others are told where the newest captured rows of a model are, and what was left out of them."""

from io import BytesIO

import pyarrow.parquet as pq
import pytest

from loopwright_common.events import RowsCaptured
from loopwright_common.storage.captured_tables import redacted_of
from loopwright_monitor.captures.newest_rows import MAX_FILES, ROWS, is_telling_point
from loopwright_monitor.captures.snapshot import MERGE_FROM
from tests.monitor.harness import START, MonitorHarness


async def told(harness: MonitorHarness) -> list[RowsCaptured]:
    await harness.settle()
    return [event.data for event in await harness.told(RowsCaptured.topic)]


async def ages_in(harness: MonitorHarness, event: RowsCaptured) -> list[list[float]]:
    tables = [pq.read_table(BytesIO(await harness.store.get(f.digest))) for f in event.files]
    return [table["input.age"].to_pylist() for table in tables]


async def test_each_batch_of_the_first_is_told_newest_first(harness: MonitorHarness) -> None:
    await harness.score({"age": [1.0, 2.0]})
    await harness.score({"age": [3.0]})
    await harness.score({"age": [4.0]}, arm="shadow")

    first, second = await told(harness)

    assert (first.captured, second.captured) == (2, 3)
    assert (first.model_id, first.model, second.until) == ("m1", "bank", START.replace(second=2))
    assert [file.rows for file in second.files] == [1, 2]
    assert await ages_in(harness, second) == [[3.0], [1.0, 2.0]]


async def test_no_more_files_are_named_than_hold_the_rows(harness: MonitorHarness) -> None:
    for _ in range(3):
        await harness.score({"age": [1.0] * (ROWS // 2 + 100)})

    newest = (await told(harness))[-1]

    assert newest.captured == 3 * (ROWS // 2 + 100)
    assert len(newest.files) == 2


async def test_files_that_were_merged_since_are_named_as_they_came(
    harness: MonitorHarness,
) -> None:
    for number in range(MERGE_FROM):
        await harness.score({"age": [float(number)]})
    await harness.settle()
    await harness.post("/v1/captured/bank/manifest")
    await harness.score({"age": [100.0]})

    newest = (await told(harness))[-1]

    assert await ages_in(harness, newest) == [[100.0], *([float(n)] for n in range(15, -1, -1))]


async def test_a_file_says_which_inputs_were_left_out_of_it(harness: MonitorHarness) -> None:
    await harness.score({"age": [1.0]}, redacted=("job",))
    await harness.score({"age": [1.0]})

    newest = (await told(harness))[-1]

    bodies = [await harness.store.get(file.digest) for file in newest.files]
    assert [redacted_of(pq.read_schema(BytesIO(body))) for body in bodies] == [[], ["job"]]


@pytest.mark.parametrize(
    ("before", "now", "is_one"),
    [(0, 1, True), (198, 199, True), (200, 201, False), (249, 250, True), (260, 900, True)],
)
def test_a_quiet_model_is_told_of_by_fifty_rows(before: int, now: int, *, is_one: bool) -> None:
    assert is_telling_point(before, now) is is_one


def test_the_longest_event_is_far_below_what_a_topic_takes() -> None:
    file = {"digest": "sha256:" + "0" * 64, "rows": 1}
    fields = {"model_id": "m" * 255, "model": "m" * 255, "captured": 1, "until": START}
    longest = RowsCaptured.model_validate({**fields, "files": [file] * MAX_FILES})

    assert len(longest.to_bytes()) < 32_000
