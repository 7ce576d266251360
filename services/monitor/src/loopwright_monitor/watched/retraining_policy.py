"""Episodes of drift and when they may start a retraining: pure rules."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Kind = Literal["data", "prediction", "concept", "quality"]
Verdict = Literal["asked", "waits", "told", "person", "closed"]
MOST_ASKS = 3


@dataclass(frozen=True, slots=True)
class Trigger:
    """When drift may start a retraining, as the pipeline declares it."""

    min_new_labels: int
    cooldown_rows: int
    cooldown: timedelta
    per_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that decides about an open episode.

    `new_labels` are labelled rows that no training has seen; `rows_since` and `last_request_at`
    tell of the model's latest request, `in_flight` why it is still under way.
    """

    now: datetime
    kind: Kind
    pipeline: str | None
    trigger: Trigger | None
    asks: int
    new_labels: int
    rows_since: int = 0
    last_request_at: datetime | None = None
    requests_today: int = 0
    in_flight: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided; `reason` is the same while nothing but figures change."""

    verdict: Verdict
    reason: str
    sentence: str


def decide(situation: Situation) -> Decision:
    """Ask for a retraining, wait, or say why none will be asked for."""
    trigger = situation.trigger
    if situation.kind == "quality":
        return Decision(
            "told", "quality", "told only: the data is broken, so mend its source; no retraining"
        )
    if situation.pipeline is None:
        return Decision("told", "no-pipeline", "told only: the version came without a pipeline")
    if trigger is None:
        return Decision(
            "told", "no-trigger", f"told only: {situation.pipeline} declares no triggers.drift"
        )
    if situation.asks >= MOST_ASKS and not situation.in_flight:
        return Decision(
            "person",
            "asked-enough",
            f"a person is needed: {situation.asks} retrainings ended without a promotion",
        )
    return _wait(situation, trigger) or Decision(
        "asked",
        f"asked-{situation.asks + 1}",
        f"asked {situation.pipeline} to retrain: {situation.new_labels:,} new labelled rows, "
        f"request {situation.asks + 1} of at most {MOST_ASKS} in this episode",
    )


def _wait(situation: Situation, trigger: Trigger) -> Decision | None:
    if situation.in_flight:
        return Decision("waits", "in-flight", "waits: the retraining asked for is under way")
    if situation.requests_today >= trigger.per_day:
        return Decision(
            "waits",
            "per-day",
            f"waits: {situation.requests_today} requests in 24 hours, at most {trigger.per_day}",
        )
    if situation.last_request_at is not None:
        if situation.rows_since < trigger.cooldown_rows:
            return Decision(
                "waits",
                "cooldown-rows",
                f"waits: {situation.rows_since:,} of {trigger.cooldown_rows:,} rows of cooldown",
            )
        if situation.now < situation.last_request_at + trigger.cooldown:
            until = situation.last_request_at + trigger.cooldown
            return Decision(
                "waits", "cooldown-time", f"waits: cooldown until {until:%Y-%m-%d %H:%M:%S} UTC"
            )
    if situation.new_labels < trigger.min_new_labels:
        return Decision(
            "waits",
            "labels",
            f"waits: {situation.new_labels:,} of {trigger.min_new_labels:,} new labelled rows",
        )
    return None
