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
        if self.errors < TRIP_AFTER or self.opened:
            return False
        self.opened = f"version {version}: {self.errors} server errors in a row, last: {error}"
        return True

    def record_success(self) -> None:
        self.errors = 0
