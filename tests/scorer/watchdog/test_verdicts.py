"""Who is blamed: what goes on too long, or takes the memory, while the process could go on."""

from dataclasses import replace

import pytest

from loopwright_scorer.watchdog.computation_slots import Computation, Snapshot
from loopwright_scorer.watchdog.verdicts import VerdictRule

LIMIT = 1 << 30
EVERY = 0.1
LONG = Computation(turn=1, allowed=2.0, ident=1, native=1, digest="sha256:long")
OTHER = Computation(turn=2, allowed=60.0, ident=2, native=2, digest="sha256:other")


class Looks:
    """Looks at one process, 0.1 s apart; who computes has the processor unless it is said."""

    def __init__(self) -> None:
        self._rule = VerdictRule(LIMIT, EVERY)
        self._at = 0

    def at(
        self,
        *running: Computation,
        resident: int = 0,
        gap: float = EVERY,
        beats: int | None = None,
        idle: bool = False,
    ) -> list[str]:
        """Who is blamed."""
        self._at += 1
        beats = self._at if beats is None else beats
        ticks = dict.fromkeys(running, 0 if idle else self._at)
        verdict = self._rule.look(Snapshot(beats, running), ticks, resident, gap)
        return list(verdict.digests) if verdict else []

    def until_blamed(self, *running: Computation, looks: int = 300, **more: float) -> int:
        """At which look somebody is; 0 if it is nobody in so many."""
        return next((n + 1 for n in range(looks) if self.at(*running, **more)), 0)  # type: ignore[arg-type]


def test_who_does_not_return_in_time_is_blamed() -> None:
    assert 20 <= Looks().until_blamed(LONG) <= 22


def test_computations_in_a_row_are_not_taken_for_one() -> None:
    looks = Looks()

    assert not any(looks.at(replace(LONG, turn=turn)) for turn in range(100))


def test_a_stopped_process_and_a_machine_without_time_are_no_fault() -> None:
    assert Looks().until_blamed(LONG, gap=0.0) == 0
    assert Looks().until_blamed(LONG, gap=1.0) == 0


def test_who_gets_no_time_is_blamed_late() -> None:
    assert Looks().until_blamed(LONG, idle=True) > 190


def test_who_computes_while_the_loop_does_not_come_round_is_blamed() -> None:
    assert 50 <= Looks().until_blamed(OTHER, beats=7) <= 55
    assert Looks().until_blamed(OTHER, looks=500) == 0
    assert Looks().until_blamed(OTHER, beats=0, looks=500) == 0  # it has not begun


def test_who_goes_on_while_memory_is_short_is_blamed() -> None:
    looks = Looks()

    assert looks.at(OTHER, resident=LIMIT + 1) == []  # it may just have begun
    assert looks.until_blamed(OTHER, resident=LIMIT + 1, looks=3)
    assert Looks().until_blamed(resident=LIMIT + 1) == 0


@pytest.mark.parametrize("resident", [0, LIMIT])
def test_memory_within_the_limit_is_nobodys_fault(resident: int) -> None:
    assert Looks().until_blamed(OTHER, resident=resident, looks=10) == 0
