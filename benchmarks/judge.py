"""`python -m benchmarks.judge`: how often the judge errs, over simulated journeys of a canary.

Beside it the same calls are judged as others do: a z-test of the errors at each look, and a
Mann-Whitney test of the looks' latencies as Kayenta runs it (98 %, again at each look).
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from math import sqrt
from statistics import median

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from loopwright_common.deploy_policy import CanaryPolicy, CanaryStep, DeployPolicy
from loopwright_deployer.canary.acknowledgement import Acknowledgement
from loopwright_deployer.canary.call_counts import (
    BoundCalls,
    CallCounter,
    StepCounts,
    sum_counters,
)
from loopwright_deployer.canary.decisions import (
    CanaryDecision,
    CanaryEvidence,
    decide_canary,
    only_waits,
)

EDGES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_SERVED = Acknowledgement(True, "served")
_WAITS = CanaryDecision("wait", "not known yet")
_LOOKS = 50
_FEWEST_POINTS = 5
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """What calls meet at a look: shares that fail and that are slow, and how many calls come."""

    failing: float = 0.02
    slow: float = 0.02
    calls: int = 100


@dataclass(frozen=True)
class Scenario:
    """`moment` of (step, look from 0 to 1) is what the champion's calls meet.

    `worse` and `slower` are how many times likelier it is for the canary's, `more` is added;
    `refused` is the share of requests that the canary refuses and the champion answers.
    """

    name: str
    moment: Callable[[int, float], Moment] = lambda *_: Moment()
    worse: float = 1.0
    more: float = 0.0
    slower: float = 1.0
    refused: float = 0.0
    callers: int = 0
    """Callers of unequal size whom keys bind to an arm, one in twenty slow in half of its calls."""


def incident(within: int, share: float) -> Callable[[int, float], Moment]:
    """Calls of both arms fail from the middle of a step on."""
    return lambda step, at: Moment(share if step == within and at > 0.5 else 0.002)


IDENTICAL = (
    Scenario("steady"),
    Scenario("incident in step 1, 20 % fail", incident(0, 0.2)),
    Scenario("incident in step 2, 10 % fail", incident(1, 0.1)),
    Scenario("incident in step 2, 50 % fail", incident(1, 0.5)),
    Scenario("slow hour in step 2, 30 % slow", lambda step, _: Moment(slow=(0.02, 0.3)[step])),
    Scenario("everything slow in step 2", lambda step, _: Moment(slow=(0.02, 0.95)[step])),
    Scenario(
        "load ramp, ten times",
        lambda _, at: Moment(0.02 + 0.05 * at, 0.02 + 0.1 * at, int(20 + 180 * at)),
    ),
    Scenario("nothing ever fails", lambda *_: Moment(0.0, 0.02)),
    Scenario("one replica of four is slow and fails", lambda *_: Moment(0.06, 0.12)),
    Scenario("50 callers bound by keys", callers=50),
    Scenario("1,000 callers bound by keys", callers=1000),
)
LONG = DeployPolicy(
    canary=CanaryPolicy(
        steps=[CanaryStep(weight=0.1, min_requests=300), CanaryStep(weight=0.5, min_requests=2000)]
    )
)
"""Of many requests, so that there is much to be wrong about."""
HARMFUL = (
    Scenario("as good as the champion"),
    Scenario("errors 2 % to 6 %", worse=3.0),
    Scenario("errors 2 % to 12 %", more=0.1),
    Scenario("errors 0 % to 10 %", lambda *_: Moment(0.0), more=0.1),
    Scenario("errors 2 % to 20 %", worse=10.0),
    Scenario("errors 20 % to 30 %", lambda *_: Moment(0.2), more=0.1),
    Scenario("slow calls 2 % to 12 %", slower=6.0),
    Scenario("slow calls 2 % to 50 %", slower=25.0),
)


def _trickle(failing: float = 0.02) -> Callable[[int, float], Moment]:
    """Five calls a look, which is a second."""
    return lambda *_: Moment(failing, slow=0.0, calls=5)


TRICKLE = (
    Scenario("no failure ever, either arm", _trickle(0.0)),
    Scenario("errors 2 %, as the champion's", _trickle()),
    Scenario("errors 2 % to 7 %", _trickle(), more=0.05),
    Scenario("errors 2 % to 12 %", _trickle(), more=0.1),
    Scenario("errors 0 % to 10 %", _trickle(0.0), more=0.1),
    Scenario("errors 2 % to 22 %", _trickle(), more=0.2),
    Scenario("every call fails", _trickle(), more=1.0),
    Scenario("refuses 5 %", _trickle(), refused=0.05),
    Scenario("refuses 10 %", _trickle(), refused=0.1),
    Scenario("refuses 20 %", _trickle(), refused=0.2),
)
_TRICKLE_LOOKS = 600
"""As many as the seconds after which the default policy pauses."""


@dataclass
class Journey:
    """One canary, looked at again and again until it is decided or its looks are used up."""

    scenario: Scenario
    policy: DeployPolicy
    seed: int
    calls: int = 0
    steps: list[StepCounts] = field(default_factory=list)
    latencies: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    def __post_init__(self) -> None:
        self._draw = np.random.default_rng(self.seed)
        usual = self.scenario.moment(0, 0.0)
        self._champion = _counter(1000, *_drawn(self._draw, 1000, usual))
        self._callers = (
            _Callers(self._draw, self.scenario.callers) if self.scenario.callers else None
        )

    @property
    def harmed(self) -> int:
        """The calls that the canary answered badly, or not."""
        return sum(step.canary.errors + step.canary.refused for step in self.steps)

    def decisions(self, looks: int = _LOOKS) -> Iterator[CanaryDecision]:
        """What is decided at each look, as long as it waits or advances."""
        step = 0
        while step < len(self.policy.canary.steps):
            self.steps.append(StepCounts(before=self._champion))
            for look in range(1, looks + 1):
                self._live(step, look / looks)
                evidence = CanaryEvidence(
                    steps=self.steps, acknowledgement=_SERVED, deadline=None, now=_NOW
                )
                if only_waits(self.policy, step, evidence):
                    yield _WAITS
                    continue
                decision = decide_canary(self.policy, step, evidence)
                yield decision
                if decision.action not in ("wait", "advance"):
                    return
                if decision.action == "advance":
                    break
            else:
                return
            step += 1

    def _live(self, step: int, at: float) -> None:
        moment = self.scenario.moment(step, at)
        calls = int(self._draw.poisson(moment.calls))
        if self._callers:
            weight = self.policy.canary.steps[step].weight
            canary, champion = self._callers.call(calls, moment, weight, anew=len(self.steps))
            self.steps[-1] = StepCounts(canary, champion, self.steps[-1].before)
            self._looked(calls, canary, champion)
            return
        own = int(self._draw.binomial(calls, self.policy.canary.steps[step].weight))
        worse = Moment(
            min(self.scenario.worse * moment.failing + self.scenario.more, 1.0),
            min(self.scenario.slower * moment.slow, 1.0),
        )
        refused = int(self._draw.binomial(own, self.scenario.refused))
        canary = _counter(own - refused, *_drawn(self._draw, own - refused, worse), refused)
        champion = _counter(calls - own, *_drawn(self._draw, calls - own, moment))
        before = self.steps[-1]
        self.steps[-1] = StepCounts(
            sum_counters((before.canary, canary)),
            sum_counters((before.champion, champion)),
            before.before,
        )
        self._champion = sum_counters((self._champion, champion))
        self._looked(calls, canary, champion)

    def _looked(self, calls: int, canary: CallCounter, champion: CallCounter) -> None:
        self.calls += calls
        for arm, counter in zip(self.latencies, (canary, champion), strict=True):
            arm.append(_mean_latency(counter))


class _Callers:
    """Callers who call as often as words are used (Zipf, 1.1), each with a place in the traffic."""

    def __init__(self, draw: np.random.Generator, callers: int) -> None:
        often = draw.permutation(1 / np.arange(1, callers + 1) ** 1.1)
        self._draw, self._often = draw, often / often.sum()
        self._is_slow = draw.permutation(callers) < max(callers // 20, 1)
        self._position = draw.random(callers)
        self._step, self._seen = 0, np.zeros((callers, len(EDGES) + 1), int)

    def call(
        self, calls: int, moment: Moment, weight: float, anew: int
    ) -> tuple[CallCounter, CallCounter]:
        """The counters of canary and champion since the step, whose number is `anew`, began."""
        if anew != self._step:
            self._step, self._seen = anew, np.zeros_like(self._seen)
        asked = self._draw.multinomial(calls, self._often)
        late = self._draw.binomial(asked, np.where(self._is_slow, 0.5, moment.slow))
        self._seen[:, 0] += asked - late
        self._seen[:, 5] += late
        own = self._position < weight
        return self._counter(own, moment), self._counter(~own, moment)

    def _counter(self, arm: npt.NDArray[np.bool_], moment: Moment) -> CallCounter:
        called = self._seen[arm & self._seen.any(axis=1)]
        counts = tuple(called.sum(axis=0).tolist())
        shares = (called / called.sum(axis=1, keepdims=True)).sum(axis=0)
        errors = round(moment.failing * sum(counts))
        bound = BoundCalls.of_one(counts if len(called) else (), shares.tolist())
        return CallCounter(sum(counts), errors, EDGES, counts, bound=bound)


def _drawn(draw: np.random.Generator, calls: int, moment: Moment) -> tuple[int, tuple[int, ...]]:
    """How many of the calls fail, and how many there are at each latency."""
    fast = np.array([0.5, 0.35, 0.15]) * (1 - moment.slow)
    shares = [*fast, 0.0, 0.3 * moment.slow, 0.4 * moment.slow, 0.3 * moment.slow]
    return int(draw.binomial(calls, moment.failing)), tuple(
        draw.multinomial(calls, shares).tolist()
    )


def _counter(calls: int, errors: int, latencies: tuple[int, ...], refused: int = 0) -> CallCounter:
    return CallCounter(calls, errors, EDGES, latencies, refused=refused)


def _mean_latency(counter: CallCounter) -> float:
    middles = (0.005, 0.015, 0.035, 0.075, 0.15, 0.35, 1.0)
    total = sum(m * c for m, c in zip(middles, counter.latency_counts, strict=True))
    return total / max(counter.calls, 1)


# ---- how others judge the same calls -------------------------------------------------------------


def z_test(steps: list[StepCounts], alpha: float = 0.01) -> bool:
    """Whether a one-sided test of two shares, over all calls, says worse."""
    from scipy.stats import norm

    canary = sum_counters(step.canary for step in steps)
    champion = sum_counters(step.champion for step in steps)
    if not canary.calls or not champion.calls:
        return False
    pooled = (canary.errors + champion.errors) / (canary.calls + champion.calls)
    spread = sqrt(pooled * (1 - pooled) * (1 / canary.calls + 1 / champion.calls))
    if not spread:
        return False
    difference = canary.errors / canary.calls - champion.errors / champion.calls
    return bool(difference / spread > norm.ppf(1 - alpha))


def mann_whitney(journey: Journey, confidence: float = 0.98) -> bool:
    """Whether the canary's latencies, one of each look, are said to be higher."""
    from scipy.stats import mannwhitneyu

    canary, champion = journey.latencies
    if len(canary) < _FEWEST_POINTS:
        return False
    result = mannwhitneyu(canary, champion, alternative="greater")
    return bool(result.pvalue < (1 - confidence) / 2)


# ---- tables --------------------------------------------------------------------------------------


@dataclass
class Outcomes:
    """How journeys of a scenario ended, and whether the others' tests would have stopped them."""

    ends: list[str] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    z_test: int = 0
    mann_whitney: int = 0

    def share(self, end: str) -> float:
        return self.ends.count(end) / len(self.ends)


def run(scenario: Scenario, policy: DeployPolicy, journeys: int, looks: int = _LOOKS) -> Outcomes:
    """Journeys with the seeds 0, 1, 2 and so on."""
    outcomes = Outcomes()
    for seed in range(journeys):
        journey = Journey(scenario, policy, seed)
        stopped_by_z = stopped_by_ranks = False
        end = "wait"
        for decision in journey.decisions(looks):
            end = decision.action
            stopped_by_z = stopped_by_z or z_test(journey.steps)
            stopped_by_ranks = stopped_by_ranks or mann_whitney(journey)
        outcomes.ends.append(end)
        outcomes.calls.append(journey.calls)
        outcomes.z_test += stopped_by_z
        outcomes.mann_whitney += stopped_by_ranks
    return outcomes


def trickle_table(journeys: int) -> Table:
    """What a canary costs its callers at five calls a second: the calls it answers badly.

    Until it is promoted, rolled back or paused; looked at each second.
    """
    table = Table("five calls a second", "rolled back", "promoted", "paused", "seconds, median")
    table.add_column("nine of ten")
    table.add_column("calls harmed, mean")
    table.add_column("nine of ten")
    for scenario in track(TRICKLE, "five calls a second"):
        ends, seconds, harmed = [], [], []
        for seed in range(journeys):
            journey = Journey(scenario, DeployPolicy(), seed)
            decisions = [*islice(journey.decisions(_TRICKLE_LOOKS), _TRICKLE_LOOKS)]
            ends.append(decisions[-1].action)
            seconds.append(len(decisions))
            harmed.append(journey.harmed)
        shares = [ends.count(end) / journeys for end in ("roll-back", "promote", "wait")]
        figures = (f"{median(seconds):.0f}", f"{np.quantile(seconds, 0.9):.0f}")
        harm = (f"{np.mean(harmed):.1f}", f"{np.quantile(harmed, 0.9):.0f}")
        table.add_row(scenario.name, *(f"{s:.1%}" for s in shares), *figures, *harm)
    return table


def detection(journeys: int) -> tuple[float, int]:
    """The share of 3 times 2 % errors at 10 % that is found, and the median calls until then."""
    policy = DeployPolicy(canary=CanaryPolicy(steps=[CanaryStep(weight=0.1, min_requests=10**6)]))
    calls = []
    for seed in range(journeys):
        journey = Journey(Scenario("", worse=3.0), policy, seed)
        *_, last = journey.decisions(looks=400)
        calls.append(journey.calls if last.action == "roll-back" else 10**9)
    found = [each for each in calls if each < 10**9]
    return len(found) / journeys, int(median(calls))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge")
    parser.add_argument("--journeys", type=int, default=500)
    parser.add_argument("--trickle", action="store_true", help="only at five calls a second")
    asked = parser.parse_args()
    console = Console()
    console.print(trickle_table(asked.journeys))
    if asked.trickle:
        return
    table = Table("identical versions", "rolled back", "promoted", "z-test", "Mann-Whitney")
    for scenario in track(IDENTICAL, "identical versions", console=console):
        seen = run(scenario, LONG, asked.journeys)
        others = [seen.z_test / asked.journeys, seen.mann_whitney / asked.journeys]
        shares = [seen.share("roll-back"), seen.share("promote"), *others]
        table.add_row(scenario.name, *(f"{share:.1%}" for share in shares))
    console.print(table)
    table = Table("default policy", "rolled back", "promoted", "undecided", "calls (median)")
    for scenario in track(HARMFUL, "default policy", console=console):
        seen = run(scenario, DeployPolicy(), asked.journeys)
        shares = [seen.share(end) for end in ("roll-back", "promote", "wait")]
        table.add_row(scenario.name, *(f"{s:.1%}" for s in shares), f"{median(seen.calls):,.0f}")
    console.print(table)
    found, calls = detection(asked.journeys)
    console.print(f"3 times 2 % errors at 10 %: {found:.1%} found, median {calls:,} calls")


if __name__ == "__main__":
    main()
