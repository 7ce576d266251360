"""Single-row latency of a candidate, its calls interleaved with the champion's."""

import asyncio
from collections.abc import Sequence
from math import comb

import numpy as np

from loopwright_common.deploy_policy import LatencyPolicy
from loopwright_common.events import Check
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext
from loopwright_deployer.staging.checks.sample_requests import plain_row

NAME = "latency"
CALLS_ALONE = 60
CALLS_COMPARED = 200
_WARM_UP = 10
_TAIL = 0.01
_SIGNIFICANCE = 1e-3


class LatencyCheck:
    """The candidate's p99 of single rows stays within the policy's limit."""

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        limit = staged.policy.latency_p99
        return await asyncio.to_thread(check_latency, limit, staged.candidate, staged.champion)


def check_latency(
    policy: LatencyPolicy, candidate: StagedVersion, champion: StagedVersion | None
) -> Check:
    """p99 against the policy; `failed` when clearly more than 1 % of the calls are too slow.

    Of n calls as many may exceed the limit as a binomial with p = 1 % makes likely: `failed` when
    so many or more have a chance under 1 in 1,000.
    """
    calls = CALLS_COMPARED if champion else CALLS_ALONE
    own, other = _time_calls(candidate, champion, calls)
    p99 = float(np.quantile(own, 0.99))
    limit = _limit(policy.at_most, other)
    if limit is None:
        sentence = f"p99 {p99 * 1000:.2f} ms over {calls} calls; no champion to compare with"
        return _check("passed", p99, None, sentence)
    slow = int((own > limit).sum())
    failed = _exceeds_tail(slow, calls)
    sentence = (
        f"p99 {p99 * 1000:.2f} ms; {slow} of {calls} calls took longer than "
        f"{limit * 1000:.2f} ms ({policy.at_most})"
    )
    return _check("failed" if failed else "passed", p99, limit, sentence)


def _time_calls(
    candidate: StagedVersion, champion: StagedVersion | None, calls: int
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each call of the candidate and of the champion, [calls] each."""
    own: list[float] = []
    other: list[float] = []
    row = plain_row(candidate.spec)
    champion_row = plain_row(champion.spec) if champion else {}
    for _ in range(calls + _WARM_UP):
        own.append(candidate.client.infer(row).seconds)
        if champion is not None:
            other.append(champion.client.infer(champion_row).seconds)
    return np.array(own[_WARM_UP:]), np.array(other[_WARM_UP:])


def _limit(at_most: str, champion: Sequence[float] | np.ndarray) -> float | None:
    """The limit in seconds; None where it is relative to a champion that is not there."""
    if "champion" not in at_most:
        return float(at_most.removesuffix("s"))
    if not len(champion):
        return None
    return float(at_most.split("x", maxsplit=1)[0]) * float(np.quantile(champion, 0.99))


def _exceeds_tail(slow: int, calls: int) -> bool:
    """More slow calls than a 1 % tail explains: the exact binomial chance is under 1 in 1,000."""
    fewer = sum(
        comb(calls, count) * _TAIL**count * (1 - _TAIL) ** (calls - count) for count in range(slow)
    )
    return 1 - fewer < _SIGNIFICANCE


def _check(verdict: str, p99: float, limit: float | None, sentence: str) -> Check:
    return Check.model_validate(
        {
            "name": NAME,
            "verdict": verdict,
            "measured": p99,
            "limit": limit,
            "unit": "s",
            "sentence": sentence,
        }
    )
