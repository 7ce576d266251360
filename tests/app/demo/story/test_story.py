"""The verdict follows from the events and the rows alone."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from loopwright.demo.client.archive_watch import WatchedEvent, watched_event
from loopwright.demo.client.served_rows import ServedRows
from loopwright.demo.story import report, story
from loopwright.demo.story.champion_periods import by_rows

START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = 9_000
SWITCH = 3_000


def event(
    id: str, topic: str, second: float, data: Mapping[str, Any], causes: str = ""
) -> WatchedEvent:
    return watched_event(
        {
            "id": id,
            "type": f"dev.loopwright.{topic}.v1",
            "time": (START + timedelta(seconds=second)).isoformat(),
            "causes": causes,
            "data": data,
        }
    )


def promoted(id: str, version: int, second: float, causes: str) -> WatchedEvent:
    data = {"model": "bank", "version": version, "why": "all checks passed"}
    return event(id, "deployment-promoted", second, data, causes)


def loop(retrained_by: str = "drift-detected") -> list[WatchedEvent]:
    """A first version, then a second one; row `SWITCH` is answered as the second is promoted."""
    drift = {"model": "bank", "version": 1, "kind": "data", "features": [{"name": "contact"}]}
    drift |= {"since": {"row": 900}, "rows_seen": 2_000}
    request = {"pipeline": "bank", "reason": "drift", "requested_by": "monitor"}
    registered = {"model": "bank", "version": 2, "format": "onnx"}
    return [
        promoted("p1", 1, 0, ""),
        event("d", retrained_by, 1_000, {**drift, "commit": "0" * 40}),
        event("r", "retrain-requested", 1_100, request, "d"),
        event("m", "model-registered", 1_200, registered, "x r"),
        promoted("p2", 2, SWITCH, "m"),
    ]


def served(good: float) -> ServedRows:
    """A row a second; version 1 gives all 0.5, version 2 gives `good` to what happened."""
    yes = np.arange(ROWS) % 2 == 0
    rows = ServedRows(yes)
    rows.frozen_probability[:] = 0.5
    rows.probability[:] = np.where(np.arange(ROWS) < SWITCH, 0.5, np.where(yes, good, 1 - good))
    rows.version[:] = np.where(np.arange(ROWS) < SWITCH, 1, 2)
    rows.time[:] = START.timestamp() + np.arange(ROWS) + 0.5
    return rows


def test_a_drift_promotion_that_helps_closes_the_loop() -> None:
    judgement = story.judge(loop(), served(0.8))
    assert judgement.passed
    assert judgement.promoted_by_drift == [2]
    assert judgement.since_drift is not None
    assert judgement.since_drift.start == SWITCH


@pytest.mark.parametrize("good", [0.5, 0.3])
def test_a_loop_that_is_no_better_did_not_close(good: float) -> None:
    judgement = story.judge(loop(), served(good))
    assert not judgement.passed
    assert "clear gain" in judgement.missing[0]


def test_promotions_by_commits_alone_do_not_close_the_loop() -> None:
    judgement = story.judge(loop(retrained_by="code-changed"), served(0.8))
    assert judgement.missing == ["a version promoted because of drift"]


def test_one_promotion_is_not_a_loop() -> None:
    judgement = story.judge(loop()[:1], served(0.8))
    assert "two versions promoted (there were 1)" in judgement.missing


def test_periods_cover_every_row_once_and_say_who_answered() -> None:
    *periods, whole = by_rows(served(0.8), every=4_000)
    assert [(p.start, p.stop) for p in periods] == [(0, 4_000), (4_000, 9_000)]
    assert periods[0].answered_by == {1: 3_000, 2: 1_000}
    assert periods[1].verdict == "better"
    assert (whole.start, whole.stop) == (0, 9_000)


def test_a_retraining_that_did_not_help_is_called_so() -> None:
    assert by_rows(served(0.3))[-1].verdict == "worse: did not help"


def test_the_story_is_shown_and_written(tmp_path: Path) -> None:
    told_story = story.build_story(loop(), served(0.8), START, {"ground-truth-logged": 12})
    console = Console(width=200, record=True, file=StringIO())
    report.show(told_story, console)
    report.write(told_story, tmp_path)
    for text in (console.export_text(), (tmp_path / "story.md").read_text()):
        assert "The loop closed." in text
        assert "drift-detected 16:40.0" in text
    assert (tmp_path / "story.png").stat().st_size > 1_000
