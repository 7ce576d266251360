"""Episodes of drift and when they may start a retraining: pure rules."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from loopwright_common.events import DriftKind

Verdict = Literal["asked", "waits", "told", "person", "closed"]
MAX_REQUESTS = 3


@dataclass(frozen=True, slots=True)
class RetrainingTrigger:
    """When drift may start a retraining, as the pipeline declares it."""

    min_new_labels: int
    cooldown_rows: int
    cooldown: timedelta
    per_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSituation:
    """All that decides about an open episode.

    `new_labels` are labelled rows that no training has seen; `rows_since` and `last_request_at`
    tell of the model's latest request, `in_flight` why it is still under way.
    """

    now: datetime
    kind: DriftKind
    pipeline: str | None
    trigger: RetrainingTrigger | None
    asks: int
    new_labels: int
    rows_since: int = 0
    last_request_at: datetime | None = None
    requests_today: int = 0
    in_flight: bool = False


@dataclass(frozen=True, slots=True)
class RetrainingDecision:
    """What was decided; `reason` is the same while nothing but figures change."""

    verdict: Verdict
    reason: str
    sentence: str


def decide(situation: EpisodeSituation) -> RetrainingDecision:
    """Ask for a retraining, wait, or say why none will be asked for."""
    trigger = situation.trigger
    if situation.kind == "quality":
        return RetrainingDecision(
            "told", "quality", "told only: the data is broken, so mend its source; no retraining"
        )
    if situation.pipeline is None:
        return RetrainingDecision(
            "told", "no-pipeline", "told only: the version came without a pipeline"
        )
    if trigger is None:
        return RetrainingDecision(
            "told", "no-trigger", f"told only: {situation.pipeline} declares no triggers.drift"
        )
    if situation.asks >= MAX_REQUESTS and not situation.in_flight:
        return RetrainingDecision(
            "person",
            "asked-enough",
            f"a person is needed: {situation.asks} retrainings ended without a promotion",
        )
    return _wait(situation, trigger) or RetrainingDecision(
        "asked",
        f"asked-{situation.asks + 1}",
        f"asked {situation.pipeline} to retrain: {situation.new_labels:,} new labelled rows, "
        f"request {situation.asks + 1} of at most {MAX_REQUESTS} in this episode",
    )


def _wait(situation: EpisodeSituation, trigger: RetrainingTrigger) -> RetrainingDecision | None:
    if situation.in_flight:
        return RetrainingDecision(
            "waits", "in-flight", "waits: the retraining asked for is under way"
        )
    if situation.requests_today >= trigger.per_day:
        return RetrainingDecision(
            "waits",
            "per-day",
            f"waits: {situation.requests_today} requests in 24 hours, at most {trigger.per_day}",
        )
    if situation.last_request_at is not None:
        if situation.rows_since < trigger.cooldown_rows:
            return RetrainingDecision(
                "waits",
                "cooldown-rows",
                f"waits: {situation.rows_since:,} of {trigger.cooldown_rows:,} rows of cooldown",
            )
        if situation.now < situation.last_request_at + trigger.cooldown:
            until = situation.last_request_at + trigger.cooldown
            return RetrainingDecision(
                "waits", "cooldown-time", f"waits: cooldown until {until:%Y-%m-%d %H:%M:%S} UTC"
            )
    if situation.new_labels < trigger.min_new_labels:
        return RetrainingDecision(
            "waits",
            "labels",
            f"waits: {situation.new_labels:,} of {trigger.min_new_labels:,} new labelled rows",
        )
    return None
