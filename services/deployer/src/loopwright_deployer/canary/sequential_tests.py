"""Sequential tests on the canary's counters, valid however often one looks.

Both kinds are e-values: under what they speak against, one reaches 1/alpha with probability at most
alpha, at any time of looking (Ville's inequality, 1939). A stratum is a step of the canary: what
holds in it for both arms, such as an incident, a load or a slow hour, cancels within, nothing is
pooled over strata, and their e-values multiply.
"""

from collections.abc import Sequence
from math import acos, copysign, cos, exp, inf, lgamma, log, log1p, pi, sqrt
from typing import NamedTuple

from loopwright_deployer.deployments.margin import Margin

_MAX_LOG_E = log(1e12)
_WORSE = {2.0: 0.3, 3.0: 0.4, 6.0: 0.2, 30.0: 0.1}
"""How many times worse the mixture against a canary has it, and in which parts."""
_MORE = {1.05: 0.1, 1.1: 0.1, 1.2: 0.2, 1.4: 0.2, 2.0: 0.2, 3.0: 0.1, 6.0: 0.1}
"""The same where labels tell: what is a fifth worse matters, and there is time to find it."""
_PRIOR = (0.5, 9.5)
_FLAT = (0.5, 0.5)
_MIXED = (0.4, 0.4, 0.2)
_MIXED_WIDELY = (0.2, 0.2, 0.1, 0.25, 0.25)
"""With parts that expect any share of either arm: bounds are also of what does harm."""
_ROUNDS = 40
_HALVES = 16


class Tally(NamedTuple):
    """How many calls there were, and how many of them were hits, such as failed or slow ones.

    Parts of a call are where all calls of a caller count as one.
    """

    calls: float
    hits: float

    @property
    def share(self) -> float:
        return self.hits / self.calls if self.calls else 0.0


_NONE = Tally(0, 0)


class Stratum(NamedTuple):
    """The calls of both arms in one step."""

    canary: Tally
    champion: Tally


# ---- that it is worse ----------------------------------------------------------------------------


def worse_log_e(strata: Sequence[Stratum]) -> float:
    """Natural log of the e-value against "no hit is likelier on the canary than on the champion".

    Given how many hits a stratum has, only which arm they fell to counts. With a share rho of the
    calls, under equal versions each falls to the canary with probability p0 = rho, under one that
    is t times worse with p(t) = rho t / (1 - rho + rho t). A stratum has the likelihood ratio

        E = mean over t of (p(t) / p0)^s ((1 - p(t)) / (1 - p0))^(k - s)

    for s of k hits on the canary (a mixture after Robbins, 1970). Every t is above 1, so it is one
    sided: a canary that is better than the champion makes it smaller. A hit may be a part x of
    one: r^x is at most 1 + x (r - 1), so the expectation of E stays at most 1.
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


def _hits(stratum: Stratum) -> float:
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
    highest = sum(_log_highest(*stratum, margin) for stratum in strata)
    return _clamped(_log_mixture(strata, before, _MIXED) - highest)


def _log_mixture(strata: Sequence[Stratum], before: Tally, weights: Sequence[float]) -> float:
    """Log likelihood of all calls, mixed over what was to be expected of each stratum.

    The weights are of what `_log_likelihoods` lists, or of the first of it.
    """
    seen = Stratum(_NONE, before)
    total = 0.0
    for stratum in strata:
        pairs = zip(weights, _log_likelihoods(stratum, seen), strict=False)
        total += _log_mean(list(pairs))
        seen = Stratum(*map(_added, seen, stratum))
    return total


def _log_likelihoods(stratum: Stratum, seen: Stratum) -> tuple[float, ...]:
    """Log likelihoods of a stratum by what may be expected of it after what was `seen`.

    One share of both arms, with nothing known or with all that is; the champion's own beside one of
    both; any two; and each arm's own.
    """
    both, known = _added(*stratum), _added(*seen)
    own = _log_expected(stratum.canary, known) + _log_expected(stratum.champion, seen.champion)
    pairs = list(zip(stratum, seen, strict=True))
    any_two = sum(_log_expected(arm, _NONE, _FLAT) for arm, _ in pairs)
    as_before = sum(_log_expected(arm, before, _FLAT) for arm, before in pairs)
    return _log_expected(both, _NONE), _log_expected(both, known), own, any_two, as_before


def _log_expected(tally: Tally, seen: Tally, prior: tuple[float, float] = _PRIOR) -> float:
    """Log likelihood of a sequence of calls under a Beta prior, updated by what was seen."""
    a, b = prior[0] + seen.hits, prior[1] + seen.calls - seen.hits
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


# ---- that it is worse by more than a margin ------------------------------------------------------


def exceeds_log_e(strata: Sequence[Stratum], points: float) -> float:
    """Natural log of the e-value against "the canary's share is at most `points` above".

    That is, above the champion's, in every stratum; below it where `points` are negative. With a
    share rho of its calls on the canary, a call is worth z = 1/rho for a hit on the canary,
    -1/(1 - rho) for one on the champion, and `points` less: 0 at most on average, whatever the
    shares of hits are. Betted on it are, as in `worse_log_e`, the parts b = p(t) - rho that a
    canary with t times the hits would have earned:

        E = mean over t of the product over calls of (1 + b z)

    (a bet on a bounded mean: Waudby-Smith and Ramdas, 2024), which with no `points` is the e-value
    of `worse_log_e`, but for one t over all strata and for smaller ones. Given the arms, E is 1 at
    most on average, since log(1 + u) <= u. A hit may be a part x of one: the log of a bet is
    concave in x, so a call earns at least what it is taken for.

    ValueError for `points` beyond 0.5, where a bet might lose more than all.
    """
    if not -0.5 <= points <= 0.5:
        raise ValueError(f"points: {points} is not between -0.5 and 0.5")
    parts = [
        (weight, sum(_log_bet(stratum, ratio, points) for stratum in strata))
        for ratio, weight in _MORE.items()
    ]
    return _clamped(_log_mean(parts))


def _log_bet(stratum: Stratum, ratio: float, points: float) -> float:
    share, (canary, champion) = _canary_share(stratum), stratum
    if not 0 < share < 1:
        return 0.0
    bet = _share_of_hits(share, ratio) - share
    missed = canary.calls + champion.calls - _hits(stratum)
    return (
        canary.hits * log1p(bet * (1 / share - points))
        + champion.hits * log1p(-bet * (1 / (1 - share) + points))
        + missed * log1p(-bet * points)
    )


# ---- how far apart they are ----------------------------------------------------------------------


def difference_bounds(
    strata: Sequence[Stratum], before: Tally, alpha: float
) -> tuple[float, float] | None:
    """Bounds of the canary's share less the champion's, between -1 and 1: a confidence sequence.

    The test of `harmless_log_e`, inverted: a difference is left out once the likelihood of the
    calls, mixed over what was to be expected, is 1/alpha times the highest that this difference or
    one beyond it could have given them in every stratum. With probability at least 1 - alpha the
    bounds hold at all times of looking together, where the strata have one difference; None where
    the calls say that they have not.
    """
    least = _log_mixture(strata, before, _MIXED_WIDELY) + log(alpha)
    turned = [Stratum(champion, canary) for canary, champion in strata]
    low, high = -_farthest(turned, least), _farthest(strata, least)
    return (low, high) if low <= high else None


def _farthest(strata: Sequence[Stratum], least: float) -> float:
    """The least difference at or above which no likelihood is above `least`; by halves."""
    low, high = -1.0, 1.0
    for _ in range(_HALVES):
        middle = (low + high) / 2
        if sum(_log_highest_apart(*stratum, middle) for stratum in strata) > least:
            low = middle
        else:
            high = middle
    return high


def _log_highest_apart(canary: Tally, champion: Tally, difference: float) -> float:
    """The highest log likelihood over shares q and p >= q + difference.

    Without calls of an arm, its share is whatever suits the other.
    """
    if not canary.calls or not champion.calls:
        return _log_highest_of_one(canary, champion, difference)
    if canary.share >= champion.share + difference:
        return _log_likelihood(canary, canary.share) + _log_likelihood(champion, champion.share)
    q = _likeliest_apart(canary, champion, difference)
    return _log_likelihood(canary, q + difference) + _log_likelihood(champion, q)


def _log_highest_of_one(canary: Tally, champion: Tally, difference: float) -> float:
    at_least, at_most = max(0.0, difference), min(1.0, 1.0 - difference)
    return _log_likelihood(canary, max(canary.share, at_least)) + _log_likelihood(
        champion, min(champion.share, at_most)
    )


def _likeliest_apart(canary: Tally, champion: Tally, difference: float) -> float:
    """The champion's share that is likeliest where the canary's is `difference` above it.

    A root of a cubic, in closed form (Miettinen and Nurminen, 1985).
    """
    d, calls, hits = difference, canary.calls + champion.calls, canary.hits + champion.hits
    square = ((canary.calls + 2 * champion.calls) * d - calls - hits) / (3 * calls)
    linear = ((champion.calls * d - calls - 2 * champion.hits) * d + hits) / calls
    constant = champion.hits * d * (1 - d) / calls
    skew = square**3 - square * linear / 2 + constant / 2
    radius = copysign(sqrt(max(square**2 - linear / 3, 0.0)), skew)
    turn = skew / radius**3 if radius else 0.0
    root = 2 * radius * cos((pi + acos(min(max(turn, -1.0), 1.0))) / 3) - square
    return min(max(root, -d, 0.0), 1.0, 1.0 - d)


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
