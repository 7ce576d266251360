"""After a promotion the labels of its canary's calls are counted as they come, and told."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from loopwright_common.events import CanaryLabelled
from loopwright_monitor.captures import canary_labels
from tests.monitor.harness import START, MonitorHarness

STEP = 100
"""Rows, and so seconds, of each of the two steps."""


def at(second: int) -> str:
    return (START + timedelta(seconds=second)).isoformat()


CANARY = [
    {"begin": at(STEP), "end": at(2 * STEP)},
    {"begin": at(2 * STEP), "end": at(3 * STEP)},
]
PROMOTED: dict[str, Any] = {
    "previous": 1,
    "canary": CANARY,
    "labels_until": at(400 * 24 * 3600),
}


async def scored(harness: MonitorHarness, versions: Sequence[int], **more: Any) -> list[str]:
    """A row a second, answered "no" by these versions."""
    return await harness.score(
        {"age": [1.0] * len(versions)}, [0.1] * len(versions), version=versions, **more
    )


async def counted(harness: MonitorHarness) -> list[list[tuple[int, float]]]:
    """By steps, the calls of the canary and the champion, and those wrong; as last told."""
    await harness.settle()
    events = await harness.told(CanaryLabelled.topic)
    if not events:
        return []
    return [
        [(arm.calls, arm.wrong) for arm in (step.canary, step.champion)]
        for step in events[-1].data.steps
    ]


@pytest.fixture
async def ids(harness: MonitorHarness) -> list[str]:
    """Rows before, in and after a canary that was promoted: it had each tenth row, then each."""
    steps = [*([1] * STEP), *([2, *[1] * 9] * (STEP // 10)), *([2, 1] * (STEP // 2)), *[2] * STEP]
    ids: list[str] = []
    for begin in range(0, len(steps), STEP):
        ids += await scored(harness, steps[begin : begin + STEP])
    await harness.promote(2, **PROMOTED)
    await harness.settle()
    return ids


async def test_calls_of_the_canary_alone_are_counted_by_step(
    harness: MonitorHarness, ids: list[str]
) -> None:
    labels = ["yes" if number % 20 < 10 else "no" for number in range(len(ids))]
    await harness.label(ids, labels)

    assert await counted(harness) == [[(10, 5), (90, 45)], [(50, 25), (50, 25)]]
    [event] = await harness.told(CanaryLabelled.topic)
    [promoted] = await harness.told("deployment-promoted")
    assert (event.chain_id, event.causes) == (promoted.chain_id, (promoted.id,))


async def test_counts_grow_with_the_labels_and_follow_their_corrections(
    harness: MonitorHarness, ids: list[str]
) -> None:
    assert await counted(harness) == []
    canary, champion = ids[STEP], ids[STEP + 1]

    await harness.label([canary], ["yes"])
    assert await counted(harness) == [[(1, 1), (0, 0)], [(0, 0), (0, 0)]]
    await harness.label([champion], ["no"])
    assert await counted(harness) == [[(1, 1), (1, 0)], [(0, 0), (0, 0)]]
    await harness.label([canary, champion], ["no", None], second=1)
    assert await counted(harness) == [[(1, 0), (0, 0)], [(0, 0), (0, 0)]]


async def test_labels_of_other_calls_are_nothing_to_tell(
    harness: MonitorHarness, ids: list[str]
) -> None:
    await harness.label([ids[0], ids[-1]], ["yes", "yes"])
    assert await counted(harness) == []
    await harness.label([ids[STEP]], ["yes"])
    await harness.settle()
    await harness.label([ids[1], ids[-2]], ["yes", "yes"])
    await harness.settle()

    assert len(await harness.told(CanaryLabelled.topic)) == 1


async def test_labels_that_were_there_before_the_promotion_count(harness: MonitorHarness) -> None:
    await scored(harness, [1] * STEP)
    ids = await scored(harness, [2, 1] * (STEP // 2))
    await harness.label(ids, ["yes", "no"] * (STEP // 2))
    await harness.settle()
    await harness.promote(2, **PROMOTED)

    assert await counted(harness) == [[(50, 50), (50, 0)], [(0, 0), (0, 0)]]


async def test_the_champions_calls_from_before_the_canary_had_any_are_left_out(
    harness: MonitorHarness,
) -> None:
    """A step begins when its route is published; until a replica follows, the champion has all."""
    await scored(harness, [1] * STEP)
    ids = await scored(harness, [*[1] * 40, 2, *[1] * 59])
    await harness.promote(2, **PROMOTED)
    await harness.label(ids, ["yes"] * len(ids))

    assert (await counted(harness))[0] == [(1, 1), (59, 59)]


async def test_a_call_of_several_rows_is_one_call(harness: MonitorHarness) -> None:
    await scored(harness, [1] * STEP)
    calls = [f"call{row // 4}.{row % 4}" for row in range(STEP)]
    versions = [2 if row // 4 == 0 else 1 for row in range(STEP)]
    await scored(harness, versions, prediction_id=calls)
    await harness.promote(2, **PROMOTED)
    await harness.label(calls[:4], ["yes", "no", "no", None])

    assert (await counted(harness))[0] == [(1, pytest.approx(1 / 3)), (0, 0)]


async def test_what_was_counted_is_told_once_and_again_where_it_was_not_told(
    harness: MonitorHarness, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        raise TimeoutError

    await harness.label([ids[STEP]], ["yes"])
    with monkeypatch.context() as dying:
        dying.setattr(canary_labels, "_tell", dies)
        with pytest.raises(TimeoutError):
            await harness.settle()
    await harness.settle()
    await harness.settle()

    assert len(await harness.told(CanaryLabelled.topic)) == 1


async def test_a_regressor_is_counted_once_it_is_known_what_error_is_usual(
    harness: MonitorHarness,
) -> None:
    before = await figures(harness, [1] * STEP)
    ids = await figures(harness, [2, 1] * (STEP // 2))
    await harness.promote(2, **PROMOTED)
    await harness.label(ids, [5.0, 1.5] * (STEP // 2))
    assert await counted(harness) == []

    await harness.label(before, [0.1 + number / 50 for number in range(STEP)], second=1)
    await harness.label([ids[0]], [5.0], second=2)

    assert (await counted(harness))[0] == [(50, 50), (50, 0)]
    [event] = await harness.told(CanaryLabelled.topic)
    assert event.data.wrong_above == pytest.approx(1.8, abs=0.03)


async def figures(harness: MonitorHarness, versions: Sequence[int]) -> list[str]:
    """A row a second, for which these versions predicted 0.1 and no label."""
    return await scored(harness, versions, without=("output.label",))


async def test_another_promotion_or_an_undo_ends_the_counting(
    harness: MonitorHarness, ids: list[str]
) -> None:
    await harness.roll_back(2, to=1, second=1)
    await harness.settle()
    await harness.label(ids, ["yes"] * len(ids))

    assert await counted(harness) == []


async def test_no_labels_count_once_their_time_is_over(harness: MonitorHarness) -> None:
    await scored(harness, [1] * STEP)
    ids = await scored(harness, [2, 1] * (STEP // 2))
    await harness.promote(2, **{**PROMOTED, "labels_until": at(5 * STEP)})
    await harness.label(ids, ["yes"] * len(ids))

    assert await counted(harness) == []
