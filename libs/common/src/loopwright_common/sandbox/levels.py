"""How far foreign code is kept from everything else."""

from collections.abc import Iterable
from enum import StrEnum

from loopwright_common.errors import LoopwrightError


class Level(StrEnum):
    """From the weakest to the strongest; `docs/security.md` says what each promises.

    `container` is `process` inside a container that is itself confined: its root is read-only, it
    has no capabilities, and its processes and memory are limited.
    """

    NONE = "none"
    PROCESS = "process"
    CONTAINER = "container"
    NAMESPACE = "namespace"

    @property
    def rank(self) -> int:
        """0 for the weakest."""
        return list(Level).index(self)


def weakest(levels: Iterable[Level]) -> Level | None:
    """None of none."""
    return min(levels, key=lambda level: level.rank, default=None)


class SandboxTooWeakError(LoopwrightError):
    """The machine permits less than the configured minimum; says why, and what to do."""
