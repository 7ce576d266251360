"""Is a call of the candidate within the policy's limit: so many of the champion's, or a time?"""

import asyncio
from collections.abc import Callable

import httpx

from loopwright_common.deploy_policy import LatencyPolicy, write_duration
from loopwright_common.events import Check
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext, verdict_of
from loopwright_deployer.staging.evaluation.calls_in_turns import CallsInTurns
from loopwright_deployer.staging.evaluation.latency_comparison import (
    LEAST_FOR_P95,
    LOOKS,
    Estimate,
    Floats,
    LatencyComparison,
    compare_latencies,
    median_and_p95,
)
from loopwright_deployer.staging.evaluation.sample_requests import plain_row
from loopwright_deployer.staging.evaluation.scorer_client import Values

NAME = "latency"
CALLS_ALONE = 60
_WARM_UP = 10
_KEYS = "of staging.latency in loopwright.yaml"


class UntimedError(Exception):
    """A version does not answer the row that it is to be timed with."""


class LatencyCheck:
    """The candidate's median and p95 of single rows stay within the policy's limit."""

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        """Inconclusive where the limit lies within the bounds when calls or time are used up."""
        seconds = min(
            staged.policy.latency.max_time.total_seconds(),
            staged.time_limit / 2,  # Past all of it staging would begin anew, without a verdict.
        )
        policy, versions = staged.policy.latency, (staged.candidate, staged.champion)
        try:
            return await asyncio.to_thread(check_latency, policy, *versions, seconds)
        except UntimedError as error:
            return verdict_of(NAME, "inconclusive", str(error))


def check_latency(
    policy: LatencyPolicy,
    candidate: StagedVersion,
    champion: StagedVersion | None,
    seconds: float,
) -> Check:
    """The verdict, as soon as it is clear; UntimedError where a version does not answer."""
    beside = champion if policy.relative else None
    callers = _callers(candidate, beside)
    CallsInTurns(callers, seconds / 10).reach(_WARM_UP)
    calls = CallsInTurns(callers, seconds)
    if policy.relative and champion is None:
        calls.reach(CALLS_ALONE)
        return timed_alone(policy, calls.seconds()[0])
    for look in LOOKS[:-1]:
        in_time = calls.reach(look)
        check = compared(policy, *calls.seconds(), seconds=seconds)
        if check.verdict != "inconclusive" or not in_time:
            return check
    calls.reach(LOOKS[-1])
    return compared(policy, *calls.seconds(), seconds=seconds)


def timed_alone(policy: LatencyPolicy, own: Floats) -> Check:
    """What a first version takes, [n] seconds, where the limit is a multiple of the champion's."""
    median, p95 = median_and_p95(own)
    sentence = (
        f"median {_ms(median)}, p95 {_ms(p95)} over {len(own)} calls; no champion to compare with"
        f" ({policy.at_most}): at_most {_KEYS} as a time, such as 0.05s, is a limit for a first"
        " version too"
    )
    return Check(name=NAME, verdict="skipped", measured=p95, unit="s", sentence=sentence)


def compared(
    policy: LatencyPolicy, own: Floats, other: Floats | None = None, *, seconds: float
) -> Check:
    """What calls in turns say, [n] seconds each; alone they are compared with the policy's time.

    `seconds` is how long they might take in all.
    """
    slack = policy.slack.total_seconds()
    found = compare_latencies(own, other, policy.limit, slack=slack)
    told = _alone(policy, own, found) if other is None else _beside(policy, own, other, found)
    if found.verdict == "inconclusive":
        told += f"; {_remedy(policy, len(own), seconds)}"
        told += ", else the canary's calls decide" if other is not None else ""
    worse = max(found.median, found.p95, key=lambda figure: figure.used)
    unit = "s" if other is None else "x champion"
    return Check(
        name=NAME,
        verdict=found.verdict,
        measured=worse.value,
        limit=worse.limit,
        unit=unit,
        sentence=told,
    )


def _callers(candidate: StagedVersion, champion: StagedVersion | None) -> list[Callable[[], float]]:
    """One per version: with the same row, where the champion has the same inputs."""
    row = plain_row(candidate.spec)
    callers = [_caller(candidate, row)]
    if champion is not None:
        same = champion.client.metadata.inputs == candidate.client.metadata.inputs
        callers.append(_caller(champion, row if same else plain_row(champion.spec)))
    return callers


def _caller(version: StagedVersion, row: Values) -> Callable[[], float]:
    def seconds() -> float:
        answer = version.client.infer(row)
        if answer.status != httpx.codes.OK:
            raise UntimedError(
                f"version {version.registered.version} answered {answer.status} to the row that it"
                f" was timed with ({answer.error}): log the model with an input_example that"
                " every version answers"
            )
        return answer.seconds

    return seconds


def _beside(policy: LatencyPolicy, own: Floats, other: Floats, found: LatencyComparison) -> str:
    (median, p95), (their_median, their_p95) = median_and_p95(own), median_and_p95(other)
    return (
        f"median {_ms(median)} against the champion's {_ms(their_median)},"
        f" {_figure(found.median, _times)}; p95 {_ms(p95)} against {_ms(their_p95)},"
        f" {_figure(found.p95, _times)}; {len(own)} calls of each in turns, 95 % confidence,"
        f" allowed below {policy.in_words}"
    )


def _alone(policy: LatencyPolicy, own: Floats, found: LatencyComparison) -> str:
    return (
        f"median {_ms(found.median.value)}, p95 {_figure(found.p95, _ms)}; {len(own)} calls,"
        f" 95 % confidence, allowed below {policy.at_most}"
    )


def _figure(figure: Estimate, write: Callable[[float], str]) -> str:
    if not figure.bounded:
        return f"{write(figure.value)} (bounds take {LEAST_FOR_P95} calls)"
    return f"{write(figure.value)} ({write(figure.lower)} to {write(figure.upper)})"


def _remedy(policy: LatencyPolicy, calls: int, seconds: float) -> str:
    """What would make an unclear outcome clear."""
    if calls == LOOKS[-1]:
        return f"not clear: a higher at_most {_KEYS} or a less busy machine would end it"
    spent = f"not clear within {seconds:g}s"
    if seconds < policy.max_time.total_seconds():
        return f"{spent}, half of LOOPWRIGHT_DEPLOYER_STAGE_SECONDS: more of these would end it"
    return f"{spent}: a max_time {_KEYS} above {write_duration(policy.max_time)} would end it"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x"
