"""Sequential tests on the canary's counters, valid however often one looks.

An e-value says how much the data speaks against "the canary is no worse than allowed"; rolling
back when it reaches 1/alpha is wrong with probability at most alpha, at any time of looking
(Ville's inequality, 1939). Each is a mixture of likelihood ratios (Robbins, 1970), as in the
mixture SPRT of Johari et al. (arXiv:1512.04922), here of binomials under a Beta prior.
"""

from collections.abc import Sequence
from math import exp, lgamma, log, log1p

from loopwright_common.events import Check
from loopwright_deployer.canary.call_counts import CallCounter, StepCounts, sum_counters

ERROR_ALPHA = 0.01
LATENCY_ALPHA = 0.005
SLOW_SHARE = 0.05
SLOW_RATIO = 1.2
_MAX_E_VALUE = 1e12


def beta_binomial_log_e(
    successes: int, failures: int, p0: float, prior: tuple[float, float]
) -> float:
    """Natural log of the e-value against the success probability `p0`.

    E = B(a + s, b + f) / (B(a, b) p0^s (1 - p0)^f) with s `successes`, f `failures` and the Beta
    prior (a, b): the likelihood mixed over the prior, by that under p0.
    """
    a, b = prior
    return (
        _log_beta(a + successes, b + failures)
        - _log_beta(a, b)
        - successes * log(p0)
        - failures * log1p(-p0)
    )


def error_log_e(step: StepCounts, ratio: float) -> float:
    """Natural log of the e-value of one step's errors against `ratio` times the champion's share.

    Given how many errors there were, only which arm they hit counts, so load and time of day
    cancel: with a canary share rho of the calls, p0 = rho r / (1 - rho + rho r), r = `ratio`, and
    the prior is Beta(20 rho, 20 (1 - rho)). 0 where one arm has had no calls, or none failed.
    """
    calls = step.canary.calls + step.champion.calls
    errors, own = step.canary.errors + step.champion.errors, step.canary.errors
    share = step.canary.calls / calls if calls else 0.0
    if not 0 < share < 1 or errors == 0:
        return 0.0
    p0 = share * ratio / (1 - share + share * ratio)
    return beta_binomial_log_e(own, errors - own, p0, (20 * share, 20 * (1 - share)))


def compare_errors(steps: Sequence[StepCounts], ratio: float) -> Check:
    """The check `canary-errors`: `failed` at 1/ERROR_ALPHA with more errors than `ratio` allows.

    The shares of traffic differ between steps, so each step has an e-value and they multiply.
    """
    evidence = _clamped(sum(error_log_e(step, ratio) for step in steps))
    canary, champion = (
        sum_counters(s.canary for s in steps),
        sum_counters(s.champion for s in steps),
    )
    worse = canary.errors * max(champion.calls, 1) > ratio * champion.errors * max(canary.calls, 1)
    sentence = (
        f"{canary.errors} of {canary.calls} calls failed on the new version, "
        f"{champion.errors} of {champion.calls} on the champion"
    )
    return _check("canary-errors", evidence, ERROR_ALPHA, worse, canary.calls, sentence)


def compare_latency(steps: Sequence[StepCounts], warm_up: CallCounter, ratio: float) -> Check:
    """The check `canary-latency`: how often a call takes over `ratio` times the champion's p95.

    Only calls beyond the limit count, so it holds for any distribution: p0 = 1.2 max(5 %, usual),
    at most 0.5, with the prior Beta(2, 18). The limit is the histogram edge at or above that; the
    champion's own share above it in the same steps is what is usual, so that a slow hour is not
    held against the new version. `failed` at 1/LATENCY_ALPHA; `inconclusive` without a limit.
    """
    limit = latency_limit(warm_up, ratio)
    if limit is None:
        return _latency_unknown()
    canary, champion = (
        sum_counters(s.canary for s in steps),
        sum_counters(s.champion for s in steps),
    )
    slow, calls = count_slower(canary, limit), sum(canary.latency_counts)
    usual = count_slower(champion, limit) / max(sum(champion.latency_counts), 1)
    p0 = min(SLOW_RATIO * max(SLOW_SHARE, usual), 0.5)
    evidence = _clamped(beta_binomial_log_e(slow, calls - slow, p0, (2.0, 18.0)))
    sentence = f"{slow} of {calls} calls took longer than {limit * 1000:.3g} ms, {p0:.1%} may"
    return _check("canary-latency", evidence, LATENCY_ALPHA, slow > p0 * calls, calls, sentence)


def latency_limit(champion: CallCounter, ratio: float, least: int = 20) -> float | None:
    """The edge at or above ratio * p95, in seconds; None without such or with too few calls."""
    calls = sum(champion.latency_counts)
    if calls < least:
        return None
    reached = 0
    for edge, count in zip(champion.latency_edges, champion.latency_counts, strict=False):
        reached += count
        if reached >= (1 - SLOW_SHARE) * calls:
            return next((e for e in champion.latency_edges if e >= ratio * edge), None)
    return None


def count_slower(counter: CallCounter, limit: float) -> int:
    """Calls above the edge `limit`."""
    within = sum(
        count
        for edge, count in zip(counter.latency_edges, counter.latency_counts, strict=False)
        if edge <= limit
    )
    return sum(counter.latency_counts) - within


def _check(name: str, log_e: float, alpha: float, worse: bool, calls: int, sentence: str) -> Check:
    value, limit = exp(log_e), 1 / alpha
    failed = worse and value >= limit
    explained = f"{sentence}; evidence against it {value:.3g} of {limit:g}"
    verdict = "failed" if failed else "passed" if calls else "inconclusive"
    return Check(
        name=name, verdict=verdict, measured=value, limit=limit, unit="e-value", sentence=explained
    )


def _latency_unknown() -> Check:
    return Check(
        name="canary-latency",
        verdict="inconclusive",
        sentence="the champion has answered too few calls to say what is slow",
    )


def _clamped(log_e: float) -> float:
    return min(max(log_e, -log(_MAX_E_VALUE)), log(_MAX_E_VALUE))


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
