"""Sequential tests on the canary's counters, valid however often one looks.

Both kinds are e-values: under what they speak against, one reaches 1/alpha with probability at most
alpha, at any time of looking (Ville's inequality, 1939). A stratum is a step of the canary: what
holds in it for both arms, such as an incident, a load or a slow hour, cancels within, nothing is
pooled over strata, and their e-values multiply.
"""

from collections.abc import Sequence
from math import exp, inf, lgamma, log, log1p
from typing import NamedTuple

_MAX_LOG_E = log(1e12)
_WORSE = {2.0: 0.3, 3.0: 0.4, 6.0: 0.2, 30.0: 0.1}
"""How many times worse the mixture against a canary has it, and in which parts."""
_PRIOR = (0.5, 9.5)
_MIXED = (0.4, 0.4, 0.2)
_ROUNDS = 40


class Tally(NamedTuple):
    """How many calls there were, and how many of them were hits, such as failed or slow ones."""

    calls: int
    hits: int

    @property
    def share(self) -> float:
        return self.hits / self.calls if self.calls else 0.0


class Stratum(NamedTuple):
    """The calls of both arms in one step."""

    canary: Tally
    champion: Tally


class Margin(NamedTuple):
    """What a canary may have: `ratio` times the champion's share, or `points` above it if more."""

    ratio: float
    points: float

    def allowed(self, champion: float) -> float:
        """The highest share that is no harm, given the champion's."""
        return min(max(self.ratio * champion, champion + self.points), 1.0)


# ---- that it is worse ----------------------------------------------------------------------------


def worse_log_e(strata: Sequence[Stratum]) -> float:
    """Natural log of the e-value against "no hit is likelier on the canary than on the champion".

    Given how many hits a stratum has, only which arm they fell to counts. With a share rho of the
    calls, under equal versions each falls to the canary with probability p0 = rho, under one that
    is t times worse with p(t) = rho t / (1 - rho + rho t). A stratum has the likelihood ratio

        E = mean over t of (p(t) / p0)^s ((1 - p(t)) / (1 - p0))^(k - s)

    for s of k hits on the canary (a mixture after Robbins, 1970). Every t is above 1, so it is one
    sided: a canary that is better than the champion makes it smaller.
    """
    return _clamped(sum(_stratum_worse(stratum) for stratum in strata))


def _stratum_worse(stratum: Stratum) -> float:
    share, hits, own = _canary_share(stratum), _hits(stratum), stratum.canary.hits
    if not 0 < share < 1 or hits == 0:
        return 0.0
    parts = []
    for ratio, weight in _WORSE.items():
        there = _share_of_hits(share, ratio)
        ratios = own * log(there / share) + (hits - own) * log((1 - there) / (1 - share))
        parts.append((weight, ratios))
    return _log_mean(parts)


def exceeds(strata: Sequence[Stratum], ratio: float) -> bool:
    """Whether the canary had more hits than `ratio` times the champion's share explains.

    Within strata, whose shares of the traffic differ.
    """
    explained = sum(_hits(s) * _share_of_hits(_canary_share(s), ratio) for s in strata)
    return sum(stratum.canary.hits for stratum in strata) > explained


def _share_of_hits(share: float, ratio: float) -> float:
    return share * ratio / (1 - share + share * ratio)


def _canary_share(stratum: Stratum) -> float:
    calls = stratum.canary.calls + stratum.champion.calls
    return stratum.canary.calls / calls if calls else 0.0


def _hits(stratum: Stratum) -> int:
    return stratum.canary.hits + stratum.champion.hits


# ---- that it is harmless -------------------------------------------------------------------------


def harmless_log_e(strata: Sequence[Stratum], before: Tally, margin: Margin) -> float:
    """Natural log of the e-value against "the canary exceeds the margin in every stratum".

    Universal inference (Wasserman, Ramdas and Balakrishnan, 2020): the likelihood of both arms'
    calls, mixed over what was to be expected, by the highest that it has where the canary's share
    is at or above what `margin` allows beside the champion's. Expected are one share of both arms
    and two of their own, under Beta priors: (0.5, 9.5), or updated by the champion's calls
    `before` the canary and by earlier strata.
    """
    seen_by_canary, seen_by_champion = Tally(0, 0), before
    total = 0.0
    for canary, champion in strata:
        both = Tally(canary.calls + champion.calls, canary.hits + champion.hits)
        known = _added(seen_by_canary, seen_by_champion)
        own = _log_expected(canary, known) + _log_expected(champion, seen_by_champion)
        expected = (_log_expected(both, Tally(0, 0)), _log_expected(both, known), own)
        total += _log_mean(list(zip(_MIXED, expected, strict=True)))
        total -= _log_highest(canary, champion, margin)
        seen_by_canary = _added(seen_by_canary, canary)
        seen_by_champion = _added(seen_by_champion, champion)
    return _clamped(total)


def _log_expected(tally: Tally, seen: Tally) -> float:
    """Log likelihood of a sequence of calls under the Beta prior, updated by what was seen."""
    a, b = _PRIOR[0] + seen.hits, _PRIOR[1] + seen.calls - seen.hits
    return _log_beta(a + tally.hits, b + tally.calls - tally.hits) - _log_beta(a, b)


def _log_highest(canary: Tally, champion: Tally, margin: Margin) -> float:
    """The highest log likelihood over champion's shares q and canary's p >= margin.allowed(q)."""
    free = _log_likelihood(canary, canary.share) + _log_likelihood(champion, champion.share)
    if canary.share >= margin.allowed(champion.share):
        return free
    # On the edge the likelihood is concave on either side of where ratio and points meet.
    kink = margin.points / (margin.ratio - 1) if margin.ratio > 1 else 1.0
    highest = max(1 - margin.points, 0.0)
    pieces = [(0.0, min(kink, highest)), (min(kink, highest), 1 / margin.ratio)]
    return max(_highest_between(canary, champion, margin, *piece) for piece in pieces)


def _highest_between(
    canary: Tally, champion: Tally, margin: Margin, low: float, high: float
) -> float:
    """By thirds, since it is concave there."""

    def at(q: float) -> float:
        return _log_likelihood(canary, margin.allowed(q)) + _log_likelihood(champion, q)

    low, high = min(low, high), max(low, high)
    for _ in range(_ROUNDS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if at(left) < at(right):
            low = left
        else:
            high = right
    return max(at(low), at(high))


def _log_likelihood(tally: Tally, share: float) -> float:
    missed = tally.calls - tally.hits
    if (share <= 0 and tally.hits) or (share >= 1 and missed):
        return -inf
    found = tally.hits * log(share) if tally.hits else 0.0
    return found + (missed * log1p(-share) if missed else 0.0)


def _added(one: Tally, other: Tally) -> Tally:
    return Tally(one.calls + other.calls, one.hits + other.hits)


def _log_mean(parts: Sequence[tuple[float, float]]) -> float:
    """Log of the weighted mean of values given by their logs."""
    top = max(value for _, value in parts)
    return top + log(sum(weight * exp(value - top) for weight, value in parts))


def _clamped(log_e: float) -> float:
    return min(max(log_e, -_MAX_LOG_E), _MAX_LOG_E)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
