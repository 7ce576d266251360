"""Does the candidate answer what callers asked lately and the champion answers?"""

import asyncio
from collections.abc import Iterator, Sequence

from loopwright_common.events import Check, Verdict
from loopwright_deployer.deployments.margin import Margin
from loopwright_deployer.staging.checks.base import RecordedTraffic, StagingContext, verdict_of
from loopwright_deployer.staging.checks.replay_details import replay_details, shown_fault
from loopwright_deployer.staging.checks.replayed_calls import (
    ChampionGoneError,
    Replay,
    replay_calls,
)
from loopwright_deployer.staging.evaluation.agreement import Agreement, agreement
from loopwright_deployer.staging.evaluation.recorded_calls import InputTypes, RecordedCalls
from loopwright_deployer.staging.evaluation.share_bounds import (
    ShareBounds,
    least_calls,
    share_bounds,
)

NAME = "replay"
ALPHA = 0.005
"""Of each bound; a verdict rests on two, so it is wrong with 1 % at most."""
_SECONDS = 30.0
_SHARE_OF_TIME = 8
"""An eighth of the time of all checks is for reading the calls at most, and one for asking them."""


class ReplayCheck:
    """The candidate refuses and fails at no more of the recorded calls than the margin allows."""

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        """`skipped` without recorded calls; `inconclusive` where they are too few to tell."""
        candidate, champion = staged.candidate, staged.champion
        if champion is None:
            return _skipped("no champion to answer recorded calls beside it")
        inputs = {**candidate.client.metadata.inputs, **champion.client.metadata.inputs}
        seconds = min(_SECONDS, staged.time_limit / _SHARE_OF_TIME)
        recorded = await _read(staged.recorded, inputs, seconds)
        if not recorded.calls:
            return _nothing_read(recorded)
        try:
            replay = await asyncio.to_thread(
                replay_calls, recorded.calls, candidate, champion, seconds
            )
        except ChampionGoneError as error:
            return verdict_of(NAME, "inconclusive", f"the champion's staging scorer broke: {error}")
        found = agreement(replay.own, replay.other, candidate.spec, champion.spec)
        staged.details[NAME] = replay_details(replay, recorded, found, staged.recorded.redacted)
        return told(replay, recorded, found, staged.recorded)


def told(
    replay: Replay, recorded: RecordedCalls, found: Agreement, traffic: RecordedTraffic
) -> Check:
    """The verdict: `failed` where the candidate is known to refuse or fail at more than is allowed.

    Of n calls that at least one version answers, p are the share that only the champion answers, q
    the share that only the candidate does. By the bounds of Clopper and Pearson, each at 0.5 %,
    `failed` where the lowest p is above `margin.allowed(q)` for the highest q, `passed` where the
    highest p is at most that for the lowest q: as for a canary. How far answers agree is told.
    """
    calls = replay.counted
    if not calls:
        return _skipped(_joined([_why_nothing(replay), *_others(replay, recorded)]))
    worse = share_bounds(replay.hits, calls, ALPHA)
    better = share_bounds(replay.only_candidate, calls, ALPHA)
    margin = traffic.margin
    verdict: Verdict = "inconclusive"
    allowed = margin.allowed(better.share)
    sentence = _refusals(replay, worse, allowed)
    if worse.low > margin.allowed(better.high):
        verdict = "failed"
        sentence += f"; the first: {_first_fault(replay, traffic)}"
    elif worse.high <= margin.allowed(better.low):
        verdict = "passed"
    else:
        sentence += f"; not clear: {_remedy(replay, margin)}the canary's calls decide"
    parts = [sentence, _agreement(found), *_others(replay, recorded)]
    return Check(
        name=NAME,
        verdict=verdict,
        measured=worse.share,
        limit=allowed,
        unit="of calls",
        sentence=_joined(parts),
    )


async def _read(traffic: RecordedTraffic, inputs: InputTypes, seconds: float) -> RecordedCalls:
    """The calls, or why there are none after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await traffic.read(inputs)
    except TimeoutError:
        return RecordedCalls([], [f"reading took longer than {seconds:g} s"])


def _nothing_read(recorded: RecordedCalls) -> Check:
    if recorded.set_aside:
        sentence = f"no recorded call could be read: {_set_aside(recorded)}"
        return verdict_of(NAME, "inconclusive", f"{sentence}; the canary's calls decide")
    return _skipped(
        "no recorded calls: they come with what callers ask, once the monitor has captured it,"
        " where deploy.record.sample is above 0"
    )


def _why_nothing(replay: Replay) -> str:
    if replay.unanswered:
        return f"none of {replay.unanswered} recorded calls is answered by either version"
    return f"none of {replay.not_asked.total()} recorded calls could be asked"


def _refusals(replay: Replay, worse: ShareBounds, allowed: float) -> str:
    refused, failed = len(replay.refused), len(replay.failed)
    return (
        f"refused {refused} and failed at {failed} that the champion answers, of {replay.counted}"
        f" recorded calls: {_percent(worse.share)} ({_percent(worse.low)} to"
        f" {_percent(worse.high)} with 99 % confidence), allowed {_percent(allowed)}"
    )


def _first_fault(replay: Replay, traffic: RecordedTraffic) -> str:
    call, fault = [*replay.failed, *replay.refused][0]
    return f"{shown_fault(fault, traffic.redacted)} (call {call.id})"


def _remedy(replay: Replay, margin: Margin) -> str:
    if replay.hits:
        return ""
    return f"{least_calls(margin.allowed(0.0), ALPHA)} calls without a fault would pass, else "


def _agreement(found: Agreement) -> str | None:
    parts = []
    if found.labels is not None:
        parts.append(f"labels agree in {_percent(found.labels)} of {found.rows} rows")
    if found.probabilities is not None:
        parts.append(f"probabilities differ by {found.probabilities:.3g} on average")
    if found.median is not None:
        unit = "standard deviations of the champion's" if found.spread else "units"
        parts.append(
            f"predictions differ by {found.median:.3g} {unit} (median), {found.p95:.3g} (p95) in"
            f" {found.rows} rows"
        )
    return ", ".join(parts) or None


def _others(replay: Replay, recorded: RecordedCalls) -> Iterator[str]:
    """Calls that count for nothing, and why."""
    if replay.unanswered and replay.counted:
        yield f"{replay.unanswered} answered by neither"
    if replay.only_candidate:
        yield f"{replay.only_candidate} answered by the candidate alone"
    yield from (f"{count} not asked: {why}" for why, count in replay.not_asked.items())
    if recorded.set_aside:
        yield _set_aside(recorded)


def _set_aside(recorded: RecordedCalls) -> str:
    count = len(recorded.set_aside)
    return f"{count} set aside, as {recorded.set_aside[0]}"


def _joined(parts: Sequence[str | None]) -> str:
    return "; ".join(part for part in parts if part)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _skipped(sentence: str) -> Check:
    return verdict_of(NAME, "skipped", sentence)
