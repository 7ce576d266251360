"""How long calls take that are made in turns, so that what slows one down slows the other too."""

import random
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


class CallsInTurns:
    """Rounds of one call by each caller, in random order, for `seconds` and one round at least.

    A caller makes one call and returns how many seconds it took. Random order, since who is second
    may find the processor awake.
    """

    def __init__(self, callers: Sequence[Callable[[], float]], seconds: float) -> None:
        self._callers = callers
        self._end = time.monotonic() + seconds
        self._order = random.Random(0)  # noqa: S311  (nothing is kept secret by it)
        self._rounds: list[list[float]] = []

    def reach(self, rounds: int) -> bool:
        """Go on until there were so many rounds; False where the time is over before."""
        while len(self._rounds) < rounds:
            if self._rounds and time.monotonic() >= self._end:
                return False
            self._rounds.append(self._round())
        return True

    def seconds(self) -> list[NDArray[np.float64]]:
        """How long the calls of each caller took, [rounds] each."""
        return list(np.array(self._rounds, dtype=np.float64).T)

    def _round(self) -> list[float]:
        taken = [0.0] * len(self._callers)
        for place in self._order.sample(range(len(taken)), len(taken)):
            taken[place] = self._callers[place]()
        return taken
