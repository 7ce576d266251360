"""When a replica stops sending traffic to an arm: a pure rule."""

from dataclasses import dataclass

TRIP_AFTER = 5
"""Consecutive server errors after which a replica stops sending to a canary arm."""


@dataclass(slots=True)
class CircuitBreaker:
    """Counts consecutive server errors of one arm; once open it stays open for its route."""

    errors: int = 0
    opened: str | None = None
    """Why it is open."""

    def record_error(self, version: int, error: str) -> bool:
        """Count a server error; True when this one opens the circuit."""
        self.errors += 1
        if self.errors < TRIP_AFTER:
            return False
        return self._open(f"version {version}: {self.errors} server errors in a row, last: {error}")

    def record_harm(self, version: int, harm: str) -> bool:
        """Once is enough of what takes others' time or memory; True when it opens the circuit."""
        self.errors += 1
        return self._open(f"version {version}: {harm}")

    def _open(self, why: str) -> bool:
        was_closed = self.opened is None
        self.opened = self.opened or why
        return was_closed

    def record_success(self) -> None:
        self.errors = 0
