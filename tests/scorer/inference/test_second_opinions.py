"""What a canary refuses or fails at is held against it only where the champion answers."""

from typing import cast

import pytest

from loopwright_common.events import ServingMeasured
from tests.scorer.harness import MODEL, ROW, Replica, ScorerHarness, eventually
from tests.scorer.packages import BREAKS_AT

Columns = dict[str, list[object]]
BAD: Columns = {**ROW, "visits": [BREAKS_AT]}
UNSEEN: Columns = {**ROW, "job": ["astronaut"]}
CALLS = 30


async def measured(harness: ScorerHarness, version: int) -> ServingMeasured | None:
    events = [cast(ServingMeasured, event) for event in await harness.events("serving-measured")]
    return next((event for event in reversed(events) if event.version == version), None)


async def routed(harness: ScorerHarness, replica: Replica, champion: str, canary: str) -> None:
    """Nearly all calls go to the canary, version 2."""
    arms = [await harness.arm(1, champion, 0.001), await harness.arm(2, canary, 0.999)]
    await harness.route(1, *arms)
    await replica.serves(1)


@pytest.mark.parametrize(
    ("champion", "canary", "row"),
    [
        ("low", "strict", UNSEEN),
        ("low", "summing", ROW),
    ],
    ids=["a category", "another signature"],
)
async def test_what_a_canary_alone_refuses_is_counted(
    harness: ScorerHarness, champion: str, canary: str, row: Columns
) -> None:
    async with harness.replica() as replica:
        await routed(harness, replica, champion, canary)
        statuses = [(await replica.infer(row)).status_code for _ in range(CALLS)]

        async def refused() -> int:
            seen = await measured(harness, 2)
            return seen.refused if seen else 0

        assert await eventually(refused) > 0

    seen = await measured(harness, 2)
    assert seen is not None
    assert seen.errors == seen.calls == 0
    assert 0 < seen.refused <= statuses.count(400)


async def test_what_a_canary_alone_fails_at_is_an_error(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await routed(harness, replica, "trained", "low")
        await replica.infer(BAD)

        async def errors() -> int:
            seen = await measured(harness, 2)
            return seen.errors if seen else 0

        assert await eventually(errors) == 1


async def test_what_both_arms_fail_at_is_no_error_and_trips_nobody(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await routed(harness, replica, "high", "low")
        statuses = {(await replica.infer(BAD)).status_code for _ in range(CALLS)}

        async def calls() -> bool:
            seen = await measured(harness, 2)
            return seen is not None and seen.calls > 0

        await eventually(calls)
        answer = await replica.infer(ROW)

    seen = await measured(harness, 2)
    assert statuses == {500}
    assert answer.json()["model_version"] == "2"
    assert seen is not None
    assert (seen.errors, seen.tripped) == (0, None)


@pytest.mark.parametrize("row", [UNSEEN, {"age": [1.0]}], ids=["a category", "columns missing"])
async def test_what_both_arms_refuse_is_the_callers_fault(
    harness: ScorerHarness, row: Columns
) -> None:
    async with harness.replica() as replica:
        await routed(harness, replica, "strict", "strict")
        statuses = {(await replica.infer(row)).status_code for _ in range(CALLS)}
        await replica.infer(row, f"/v2/models/{MODEL}/versions/2/infer")
        await replica.infer(ROW)

        async def is_told() -> bool:
            return await measured(harness, 2) is not None

        await eventually(is_told)

    seen = await measured(harness, 2)
    assert statuses == {400}
    assert seen is not None
    assert (seen.calls, seen.errors, seen.refused) == (1, 0, 0)


async def test_a_named_version_is_no_evidence(harness: ScorerHarness) -> None:
    async with harness.replica() as replica:
        await routed(harness, replica, "low", "strict")
        await replica.infer(UNSEEN, f"/v2/models/{MODEL}/versions/2/infer")
        await replica.infer(ROW)

        async def is_told() -> bool:
            return await measured(harness, 2) is not None

        await eventually(is_told)

    seen = await measured(harness, 2)
    assert seen is not None
    assert seen.refused == 0
