"""Calls of callers who are bound to one of several arms: each caller as one."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common.events import ServingMeasured
from loopwright_scorer.routing.caller_latencies import GROUPS, CallerLatencies
from tests.scorer.harness import ROW, ScorerHarness, eventually

CELLS = 5
called = st.dictionaries(
    st.integers(0, GROUPS - 1), st.lists(st.integers(0, CELLS - 1), min_size=1), max_size=20
)


@given(called)
def test_each_caller_counts_as_one_however_often_it_calls(calls: dict[int, list[int]]) -> None:
    latencies = CallerLatencies(CELLS)
    for caller, cells in calls.items():
        for cell in cells:
            latencies.count(caller / GROUPS, cell)

    assert sum(latencies.calls()) == sum(map(len, calls.values()))
    assert sum(latencies.shares()) == pytest.approx(len(calls), abs=0.01)
    for cell in range(CELLS):
        shares = [cells.count(cell) / len(cells) for cells in calls.values()]
        assert latencies.shares()[cell] == pytest.approx(sum(shares), abs=0.001)


async def measured(harness: ScorerHarness, revision: int, calls: int) -> dict[int, ServingMeasured]:
    """By version, once all the calls are told."""

    async def told() -> dict[int, ServingMeasured]:
        events = [cast(ServingMeasured, each) for each in await harness.events("serving-measured")]
        latest = {each.version: each for each in events if each.revision == revision}
        return latest if sum(each.calls for each in latest.values()) == calls else {}

    return await eventually(told)


async def test_callers_with_a_key_are_told_beside_the_calls_while_two_arms_are_live(
    harness: ScorerHarness,
) -> None:
    async with harness.replica() as replica:
        alone = await harness.arm(1, "low")
        await harness.route(1, alone)
        await replica.serves(1)
        await replica.infer(ROW, loopwright_routing_key="a")
        by_one = await measured(harness, 1, calls=1)

        arms = [await harness.arm(1, "low", 0.5), await harness.arm(2, "high", 0.5)]
        await harness.route(2, *arms)
        await replica.serves(2)
        for caller in "abcdefgh":
            for _ in range(3):
                await replica.infer(ROW, loopwright_routing_key=caller)
        for _ in range(5):
            await replica.infer(ROW)
        by_two = await measured(harness, 2, calls=29)

    assert (by_one[1].caller_counts, by_one[1].caller_shares) == ([], [])
    assert sum(sum(each.caller_counts) for each in by_two.values()) == 24
    for each in by_two.values():
        assert 3 * sum(each.caller_shares) == pytest.approx(sum(each.caller_counts), abs=0.01)
