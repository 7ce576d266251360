"""When drift asks for a retraining: the rules alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from loopwright_monitor.episodes.retraining_policy import (
    EpisodeSituation,
    RetrainingTrigger,
    decide,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRIGGER = RetrainingTrigger(
    min_new_labels=6000, cooldown_rows=6000, cooldown=timedelta(hours=1), per_day=4
)
READY = EpisodeSituation(
    now=NOW,
    kind="data",
    pipeline="bank",
    trigger=TRIGGER,
    asks=0,
    new_labels=6000,
    rows_since=6000,
    last_request_at=NOW - timedelta(hours=1),
    requests_today=3,
)


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({}, "asked", "asked-1"),
        ({"last_request_at": None, "rows_since": 0}, "asked", "asked-1"),
        ({"kind": "prediction", "asks": 2}, "asked", "asked-3"),
        ({"kind": "quality"}, "told", "quality"),
        ({"pipeline": None}, "told", "no-pipeline"),
        ({"trigger": None}, "told", "no-trigger"),
        ({"asks": 3}, "person", "asked-enough"),
        ({"asks": 3, "in_flight": True}, "waits", "in-flight"),
        ({"in_flight": True}, "waits", "in-flight"),
        ({"requests_today": 4}, "waits", "per-day"),
        ({"rows_since": 5999}, "waits", "cooldown-rows"),
        ({"last_request_at": NOW - timedelta(minutes=59)}, "waits", "cooldown-time"),
        ({"new_labels": 5999}, "waits", "labels"),
        ({"new_labels": 5999, "last_request_at": None}, "waits", "labels"),
    ],
)
def test_decisions(change: dict[str, object], verdict: str, reason: str) -> None:
    decision = decide(replace(READY, **change))  # type: ignore[arg-type]
    assert (decision.verdict, decision.reason) == (verdict, reason)


def test_a_limit_of_no_requests_a_day_means_none() -> None:
    trigger = replace(TRIGGER, per_day=0)
    decision = decide(replace(READY, trigger=trigger, requests_today=0))
    assert decision.sentence == "waits: 0 requests in 24 hours, at most 0"


def test_sentences_name_the_figures() -> None:
    waiting = decide(replace(READY, new_labels=3120))
    assert waiting.sentence == "waits: 3,120 of 6,000 new labelled rows"
