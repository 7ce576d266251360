"""What the tests say of a canary: worse, harmless, or not known yet; with figures for people.

Worse takes evidence, and so does harmless: calls that nobody made pass nothing.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import NamedTuple

from loopwright_common.deploy_policy import CanaryPolicy, LatencyPolicy
from loopwright_common.events import ArmComparison, Check, CountedCalls
from loopwright_common.wording import counted
from loopwright_deployer.canary.call_counts import CallCounter, StepCounts, sum_counters
from loopwright_deployer.canary.sequential_tests import (
    Stratum,
    Tally,
    difference_bounds,
    exceeds,
    harmless_log_e,
    worse_log_e,
)
from loopwright_deployer.deployments.margin import Margin

ERROR_ALPHA = 0.01
REFUSAL_ALPHA = 0.01
LATENCY_ALPHA = 0.005
HARMLESS_ALPHA = 0.05
"""The chance, for each test, that a version which does harm is taken for harmless."""
BOUNDS_ALPHA = 0.05
"""The chance that the bounds of a difference are wrong at any time of a canary."""
SLOW_SHARE = 0.05
SLOW_RATIO = 1.2
_CALLS_TO_KNOW_P95 = 20
ERRORS, REFUSALS, LATENCY = "canary-errors", "canary-refusals", "canary-latency"
CHECK_NAMES = frozenset({ERRORS, REFUSALS, LATENCY})


@dataclass(frozen=True, slots=True)
class CanaryVerdict:
    """A check, and the natural log of the evidence that the canary is harmless."""

    check: Check
    harmless: float = 0.0


@dataclass(frozen=True, slots=True)
class CanaryTest:
    """What is asked of a canary: whether it has more hits than the champion, and too many."""

    name: str
    strata: Sequence[Stratum]
    before: Tally
    margin: Margin
    alpha: float
    describe: Callable[[Tally, Tally], str]
    """Says what the canary and the champion did."""
    callers: Sequence[Stratum] | None = None
    """The same by callers, where a caller's calls share what befalls them."""

    @property
    def independent(self) -> Sequence[Stratum]:
        """What the test of whether it is worse goes by."""
        return self.callers or self.strata

    @property
    def fails(self) -> bool:
        """Whether it is worse than the champion, and by more than the ratio that is allowed."""
        is_worse = worse_log_e(self.independent) >= -log(self.alpha)
        return is_worse and exceeds(self.independent, self.margin.ratio)

    @property
    def harmless(self) -> float:
        """The natural log of the evidence that the canary is harmless."""
        return harmless_log_e(self.strata, self.before, self.margin)


class SlowLimit(NamedTuple):
    """Calls are slow above `seconds`, an edge of the histograms; `p95` is the champion's."""

    seconds: float
    p95: float


def judge_errors(steps: Sequence[StepCounts], policy: CanaryPolicy) -> CanaryVerdict:
    """The check `canary-errors`: how many of each arm's calls failed."""
    return _judge(_errors(steps, policy))


def judge_refusals(steps: Sequence[StepCounts], policy: CanaryPolicy) -> CanaryVerdict:
    """The check `canary-refusals`: how many requests one arm refused and the other answered."""
    return _judge(_refusals(steps, policy))


def judge_latency(
    steps: Sequence[StepCounts], policy: CanaryPolicy, latency: LatencyPolicy
) -> CanaryVerdict:
    """The check `canary-latency`: how many of each arm's calls were slow.

    What is slow follows from the champion's p95 of before the step, so that nothing that goes on
    in a step moves its limit. `inconclusive` while that is not known of any step.
    """
    test = _latency(steps, policy, latency)
    return _judge(test) if test else CanaryVerdict(_nothing_is_known())


def canary_tests(
    steps: Sequence[StepCounts], policy: CanaryPolicy, latency: LatencyPolicy
) -> Sequence[CanaryTest | None]:
    """All that are judged; None for that of the latency while it is not known what is slow."""
    return _errors(steps, policy), _refusals(steps, policy), _latency(steps, policy, latency)


def _errors(steps: Sequence[StepCounts], policy: CanaryPolicy) -> CanaryTest:
    strata = [Stratum(_failed(step.canary), _failed(step.champion)) for step in steps]
    before = _failed(steps[0].before) if steps else Tally(0, 0)
    margin = Margin.of(policy)
    return CanaryTest(ERRORS, strata, before, margin, ERROR_ALPHA, _calls_that("failed"))


def _refusals(steps: Sequence[StepCounts], policy: CanaryPolicy) -> CanaryTest:
    strata = [Stratum(_refused(step.canary), _refused(step.champion)) for step in steps]
    before = Tally(steps[0].before.calls, 0) if steps else Tally(0, 0)
    margin = Margin.of(policy)
    return CanaryTest(REFUSALS, strata, before, margin, REFUSAL_ALPHA, _what_is_refused)


def _latency(
    steps: Sequence[StepCounts], policy: CanaryPolicy, latency: LatencyPolicy
) -> CanaryTest | None:
    limited = [(step, limit) for step in steps if (limit := slow_limit(step.before, latency))]
    if not limited:
        return None
    strata = [
        Stratum(_slow(step.canary, limit), _slow(step.champion, limit)) for step, limit in limited
    ]
    first, first_limit = limited[0]
    last = limited[-1][1]
    slow = (
        f"took longer than {last.seconds * 1000:.3g} ms "
        f"({last.seconds / last.p95:.2g} times the champion's p95)"
    )
    before, margin = _slow(first.before, first_limit), Margin(SLOW_RATIO, policy.margin)
    callers = [_by_callers(step, limit) for step, limit in limited]
    told = _calls_that(slow)
    return CanaryTest(LATENCY, strata, before, margin, LATENCY_ALPHA, told, callers)


def evidence_needed(policy: CanaryPolicy, step: int) -> float:
    """The natural log of the evidence that the canary is harmless, with which a step (from 0) ends.

    A step's part is that of its weight in the weights of all, so that under steady traffic the
    steps take equally long; the last ends with all of it.
    """
    weights = [each.weight for each in policy.steps]
    return -log(HARMLESS_ALPHA) * sum(weights[: step + 1]) / sum(weights)


def calls_to_pass(policy: CanaryPolicy, step: int) -> int:
    """How many calls of a canary without a fault end a step (from 0), with those before: the least.

    Where neither arm ever had one. A champion that was never seen to fail in ten thousand calls is
    as good as one that cannot.
    """
    margin, needed = Margin.of(policy), evidence_needed(policy, step)

    def passes(calls: int) -> bool:
        stratum = Stratum(Tally(calls, 0), Tally(9 * calls, 0))
        return harmless_log_e([stratum], Tally(10_000, 0), margin) >= needed

    enough = 1
    while not passes(enough):
        enough *= 2
    return bisect_left(range(enough), True, key=passes)


def begins_to_be_timed(step: StepCounts, latency: LatencyPolicy) -> bool:
    """Whether what is slow was not known when the step began, and is by its calls."""
    known = sum_counters((step.before, step.champion))
    return slow_limit(step.before, latency) is None and slow_limit(known, latency) is not None


def slow_limit(champion: CallCounter, latency: LatencyPolicy) -> SlowLimit | None:
    """The edge at or above the policy's multiple of p95 plus its slack, or the last edge.

    None with fewer than 20 calls, and where p95 is above all edges.
    """
    calls = sum(champion.latency_counts)
    if calls < _CALLS_TO_KNOW_P95:
        return None
    reached = 0
    for p95, count in zip(champion.latency_edges, champion.latency_counts, strict=False):
        reached += count
        if reached >= (1 - SLOW_SHARE) * calls:
            least = latency.multiple * p95 + latency.slack.total_seconds()
            edges = champion.latency_edges
            return SlowLimit(next((edge for edge in edges if edge >= least), edges[-1]), p95)
    return None


def _judge(test: CanaryTest) -> CanaryVerdict:
    strata, harmless = test.strata, test.harmless
    canary, champion = both_arms(strata)
    worse = worse_log_e(test.independent)
    if test.fails:
        verdict = "failed"
    else:
        verdict = "passed" if harmless >= -log(HARMLESS_ALPHA) else "inconclusive"
    allowed = test.margin.allowed(champion.share)
    sentence = (
        f"{test.describe(canary, champion)}, {allowed:.1%} may; "
        f"evidence that it is worse {exp(worse):.3g} of {1 / test.alpha:g}, "
        f"that it is harmless {exp(harmless):.3g} of {1 / HARMLESS_ALPHA:g}"
    )
    if test.callers and test.callers != strata:
        own, other = both_arms(test.callers)
        sentence += (
            "; towards worse, all calls of a caller that its key binds to a version are one call:"
            f" {own.calls:.0f} and {other.calls:.0f}"
        )
    check = Check(
        name=test.name,
        verdict=verdict,
        measured=canary.share,
        limit=allowed,
        unit="of calls",
        sentence=sentence,
        comparison=compare_arms(strata, test.before, worse, test.alpha, harmless),
    )
    return CanaryVerdict(check, harmless)


def compare_arms(
    strata: Sequence[Stratum], before: Tally, worse: float, alpha: float, harmless: float
) -> ArmComparison:
    """What both arms did, with the evidence: natural logs, of which `worse` takes 1/alpha."""
    canary, champion = both_arms(strata)
    return ArmComparison(
        canary=_figures(canary),
        champion=_figures(champion),
        **_bounds(strata, before),
        confidence=1 - BOUNDS_ALPHA,
        worse=exp(worse),
        worse_limit=1 / alpha,
        harmless=exp(harmless),
        harmless_limit=1 / HARMLESS_ALPHA,
    )


def both_arms(strata: Sequence[Stratum]) -> tuple[Tally, Tally]:
    """The calls of the canary and of the champion over all strata, of which there is one."""
    return _sum(s.canary for s in strata), _sum(s.champion for s in strata)


def _figures(tally: Tally) -> CountedCalls:
    return CountedCalls(calls=round(tally.calls), hits=round(tally.hits), share=tally.share)


def _bounds(strata: Sequence[Stratum], before: Tally) -> dict[str, float]:
    bounds = difference_bounds(strata, before, BOUNDS_ALPHA)
    return dict(zip(("low", "high"), bounds, strict=True)) if bounds else {}


def _nothing_is_known() -> Check:
    sentence = "the champion has answered too few calls to say what is slow"
    return Check(name=LATENCY, verdict="inconclusive", sentence=sentence)


def _failed(counter: CallCounter) -> Tally:
    return Tally(counter.calls, counter.errors)


def _refused(counter: CallCounter) -> Tally:
    return Tally(counter.requests, counter.refused)


def _slow(counter: CallCounter, limit: SlowLimit) -> Tally:
    return _above(counter.latency_edges, counter.latency_counts, limit)


def _by_callers(step: StepCounts, limit: SlowLimit) -> Stratum:
    """Slow calls where all that a bound caller makes are one, slow by the share of them that are.

    A key binds a caller to an arm by chance, and all its calls with it. Replicas do not know of
    each other's callers: as if each had been called by all of them.
    """
    replicas = max(step.canary.bound.replicas, step.champion.bound.replicas)
    return Stratum(*(_callers_of(arm, limit, replicas) for arm in (step.canary, step.champion)))


def _callers_of(counter: CallCounter, limit: SlowLimit, replicas: int) -> Tally:
    every, bound = _slow(counter, limit), counter.bound
    if not bound.replicas:
        return every
    calls = _above(counter.latency_edges, bound.counts, limit)
    callers = _above(counter.latency_edges, bound.shares, limit)
    return Tally(
        every.calls - calls.calls + callers.calls / replicas,
        every.hits - calls.hits + callers.hits / replicas,
    )


def _above(edges: Sequence[float], counts: Sequence[float], limit: SlowLimit) -> Tally:
    calls = sum(counts)
    pairs = zip(edges, counts, strict=False)
    return Tally(calls, calls - sum(count for edge, count in pairs if edge <= limit.seconds))


def _sum(tallies: Iterable[Tally]) -> Tally:
    calls, hits = zip(*tallies, strict=True)
    return Tally(sum(calls), sum(hits))


def _calls_that(hit: str) -> Callable[[Tally, Tally], str]:
    def describe(canary: Tally, champion: Tally) -> str:
        of = [f"{t.hits} of {counted(t.calls, 'call')} ({t.share:.1%})" for t in (canary, champion)]
        return f"{of[0]} {hit} on the new version, {of[1]} on the champion"

    return describe


def _what_is_refused(canary: Tally, champion: Tally) -> str:
    own, other = (f"{t.hits} ({t.share:.1%})" for t in (canary, champion))
    return (
        f"of {counted(canary.calls, 'request')} the new version refused {own} that the champion "
        f"answers, of {counted(champion.calls, 'request')} the champion refused {other} that the "
        "new version answers"
    )
