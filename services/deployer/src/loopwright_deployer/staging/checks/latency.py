"""Single-row latency of a candidate, its calls interleaved with the champion's."""

from collections.abc import Sequence
from math import comb

import numpy as np

from loopwright_common.deploy_policy import LatencyPolicy
from loopwright_common.events import Check
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient, Values

NAME = "latency"
CALLS_ALONE = 60
CALLS_COMPARED = 200
_WARM_UP = 10
_TAIL = 0.01
_SURENESS = 1e-3


def check_latency(
    policy: LatencyPolicy,
    row: Values,
    candidate: ScorerClient,
    champion: tuple[ScorerClient, Values] | None,
) -> Check:
    """p99 against the policy; `failed` when clearly more than 1 % of the calls are too slow."""
    calls = CALLS_COMPARED if champion else CALLS_ALONE
    own, other = _timed(row, candidate, champion, calls)
    p99 = float(np.quantile(own, 0.99))
    limit = _limit(policy.at_most, other)
    if limit is None:
        sentence = f"p99 {p99 * 1000:.2f} ms over {calls} calls; no champion to compare with"
        return _check("passed", p99, None, sentence)
    slow = int((own > limit).sum())
    failed = _surely_more(slow, calls)
    sentence = (
        f"p99 {p99 * 1000:.2f} ms; {slow} of {calls} calls took longer than "
        f"{limit * 1000:.2f} ms ({policy.at_most})"
    )
    return _check("failed" if failed else "passed", p99, limit, sentence)


def _timed(
    row: Values, candidate: ScorerClient, champion: tuple[ScorerClient, Values] | None, calls: int
) -> tuple[np.ndarray, np.ndarray]:
    own: list[float] = []
    other: list[float] = []
    for _ in range(calls + _WARM_UP):
        own.append(candidate.infer(row).seconds)
        if champion is not None:
            other.append(champion[0].infer(champion[1]).seconds)
    return np.array(own[_WARM_UP:]), np.array(other[_WARM_UP:])


def _limit(at_most: str, champion: Sequence[float] | np.ndarray) -> float | None:
    """In seconds; None where it is relative to a champion that is not there."""
    if "champion" not in at_most:
        return float(at_most.removesuffix("s"))
    if not len(champion):
        return None
    return float(at_most.split("x", maxsplit=1)[0]) * float(np.quantile(champion, 0.99))


def _surely_more(slow: int, calls: int) -> bool:
    """More slow calls than a 1 % tail explains: the exact binomial chance is under 1 in 1,000."""
    fewer = sum(
        comb(calls, count) * _TAIL**count * (1 - _TAIL) ** (calls - count) for count in range(slow)
    )
    return 1 - fewer < _SURENESS


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
