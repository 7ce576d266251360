"""Who asks for something to be done to a deployment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """Who wants it and why."""

    by: str
    reason: str

    def __str__(self) -> str:
        return f"{self.by}: {self.reason}" if self.reason else self.by
