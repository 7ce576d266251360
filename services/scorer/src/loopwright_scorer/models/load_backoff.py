"""How long a package that cannot be loaded is left alone before the next try."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from loopwright_common.errors import InvalidError, LoopwrightError

_FIRST_SECONDS = 5.0
_LONGEST_SECONDS = 300.0


@dataclass(slots=True)
class _Failure:
    count: int = 0
    reason: str = ""
    not_before: float = 0.0


@dataclass(slots=True)
class LoadBackoff:
    """Pauses between tries to load a failing package: 5, 10, 20... seconds, up to 5 minutes.

    So a fault that passes is noticed at most as much later as it has lasted. What is not the
    package's fault, such as a store that is away, can be tried at any time.
    """

    clock: Callable[[], float] = time.monotonic
    _failed: dict[str, _Failure] = field(default_factory=dict)

    def refusal(self, digest: str) -> str | None:
        """Why the last try failed, while it is too early for the next."""
        failed = self._failed.get(digest)
        return failed.reason if failed and self.clock() < failed.not_before else None

    def record_failure(self, digest: str, error: LoopwrightError) -> None:
        """Count it, unless it is not the package's fault."""
        if not isinstance(error, InvalidError):
            return
        failed = self._failed.setdefault(digest, _Failure())
        pause = min(_FIRST_SECONDS * 2**failed.count, _LONGEST_SECONDS)
        failed.count, failed.reason = failed.count + 1, str(error)
        failed.not_before = self.clock() + pause

    def retain(self, digests: Collection[str]) -> None:
        """Forget the failures of all but these digests."""
        self._failed = {digest: each for digest, each in self._failed.items() if digest in digests}
