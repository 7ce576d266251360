"""A history checker: what was told against what was done, under whatever faults.

Give it what was told and what had effect, both as (key, number), in the order in which that
happened; only the order within a key counts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

Fact = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`str(verdict)` is the line to print; `clean` is the promise."""

    told: int
    handled: int
    lost: int
    twice: int
    out_of_order: int
    invented: int

    @property
    def clean(self) -> bool:
        """Everything told had its effect once, in order per key, and nothing else had one."""
        return not (self.lost or self.twice or self.out_of_order or self.invented)

    def __str__(self) -> str:
        return (
            f"told {self.told}, handled {self.handled}, lost {self.lost}, twice {self.twice}, "
            f"out of order {self.out_of_order}, invented {self.invented}"
        )


def judge(told: Iterable[Fact], effects: Iterable[Fact]) -> Verdict:
    """Compare the two; a fact told again is the same fact."""
    places = _places(told)
    facts = list(effects)
    done = Counter(facts)
    return Verdict(
        told=len(places),
        handled=len(done.keys() & places.keys()),
        lost=len(places.keys() - done.keys()),
        twice=sum(times - 1 for times in done.values()),
        out_of_order=_late(places, facts),
        invented=len(done.keys() - places.keys()),
    )


def _places(told: Iterable[Fact]) -> dict[Fact, int]:
    """For each fact, its place among those of its key."""
    places: dict[Fact, int] = {}
    seen: Counter[str] = Counter()
    for fact in told:
        if fact not in places:
            places[fact] = seen[fact[0]]
            seen[fact[0]] += 1
    return places


def _late(places: dict[Fact, int], effects: list[Fact]) -> int:
    """How many effects came after one that was told later."""
    furthest: defaultdict[str, int] = defaultdict(lambda: -1)
    late = 0
    for effect in dict.fromkeys(effects):
        if effect in places:
            late += places[effect] < furthest[effect[0]]
            furthest[effect[0]] = max(furthest[effect[0]], places[effect])
    return late
