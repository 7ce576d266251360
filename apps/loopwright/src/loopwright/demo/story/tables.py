"""The story's tables: titles, rows and cells, whatever shows them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loopwright.demo.story.champion_periods import Period
from loopwright.demo.story.story import Story, clock
from loopwright_common.wording import counted


@dataclass(frozen=True, slots=True)
class StoryTable:
    """A titled table of text; `numbers` are the columns that align right."""

    title: str
    header: list[str]
    rows: list[list[str]]
    numbers: frozenset[int] = frozenset()


def story_tables(story: Story) -> Iterator[StoryTable]:
    yield _events(story)
    yield _runs(story)
    yield _checks(story)
    yield _periods("Who served, and how well, by champion", story.champion_periods)
    yield _periods("The same by the calendar", story.periods)


def verdict(story: Story) -> list[str]:
    """Whether the loop closed honestly, in a few lines."""
    judgement = story.judgement
    lines = [
        f"{story.engine.described}: "
        f"{counted(len(judgement.promoted), 'version')} promoted, "
        f"{len(judgement.promoted_by_drift)} of them because of drift"
    ]
    if since := judgement.since_drift:
        low, high = since.gain
        lines.append(
            f"over the {since.stop - since.start:,} rows since the first of these: log loss "
            f"{since.served.log_loss:.4f} served, {since.frozen.log_loss:.4f} by version 1 on the "
            f"same rows; gain {since.frozen.log_loss - since.served.log_loss:.4f} "
            f"(95 % block bootstrap {low:.4f} to {high:.4f})"
        )
    if judgement.passed:
        return [*lines, "The loop closed."]
    return [*lines, "The loop did not close; missing: " + "; ".join(judgement.missing)]


def _events(story: Story) -> StoryTable:
    rows = [
        [clock(event.seconds), f"{event.row:,}", event.topic, event.summary, event.causes]
        for event in story.events
    ]
    others = "".join(f", and {count:,} {topic}" for topic, count in story.counted.items())
    title = f"What happened: {counted(len(rows), 'event')}{others}"
    return StoryTable(title, ["time", "row", "event", "says", "because of"], rows, frozenset({1}))


def _runs(story: Story) -> StoryTable:
    rows = [
        [
            str(run.get("version") or "none"),
            run["reason"],
            stage["name"],
            stage["outcome"],
            f"{stage['seconds']:.1f} s",
            stage["why"],
        ]
        for run in story.runs
        for stage in run.get("stages", [])
    ]
    header = ["version", "run because of", "stage", "outcome", "took", "why"]
    return StoryTable("What was reused", header, rows, frozenset({4}))


def _checks(story: Story) -> StoryTable:
    rows = [
        [
            str(validation["version"]),
            check["name"],
            check["verdict"],
            _figure(check, "measured"),
            _figure(check, "limit"),
            check["sentence"],
        ]
        for validation in story.validations
        for check in validation["checks"]
    ]
    header = ["version", "check", "verdict", "measured", "limit", "says"]
    return StoryTable("What staging checked", header, rows, frozenset({3, 4}))


def _periods(title: str, periods: list[Period]) -> StoryTable:
    header = ["period", "rows", "answered by", "log loss, v1's", "Brier, v1's"]
    header += ["yes", "expected, v1's", "against v1"]
    return StoryTable(title, header, [_period(p) for p in periods], frozenset(range(3, 7)))


def _period(p: Period) -> list[str]:
    return [
        p.name,
        f"{p.start:,}-{p.stop:,}",
        ", ".join(f"v{version}: {rows:,}" for version, rows in p.answered_by.items()),
        f"{p.served.log_loss:.4f}  {p.frozen.log_loss:.4f}",
        f"{p.served.brier:.4f}  {p.frozen.brier:.4f}",
        f"{p.actual_yes:.1%}",
        f"{p.served.expected_yes:.1%}  {p.frozen.expected_yes:.1%}",
        p.verdict,
    ]


def _figure(check: Mapping[str, Any], name: str) -> str:
    value = check.get(name)
    unit = f" {check['unit']}" if check.get("unit") else ""
    return "" if value is None else f"{value:.4g}{unit}"
