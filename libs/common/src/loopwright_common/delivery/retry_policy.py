"""What a failure means for its record: worth another try, hopeless, or the database's own."""

from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from loopwright_common.errors import UnavailableError, UndecodableError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failing record is tried, and when a consumer gives up on itself; in seconds."""

    delays: tuple[float, ...] = (0.2, 1, 5, 15, 60)
    poison_limit: int = 50
    """Dead letters in a row after which the consumer stops instead of emptying the topic."""
    stalled_after: float = 60.0
    """Without progress for so long, while records wait, a consumer is unready."""
    rejoin_after: float = 300.0
    """And after so long it joins its group anew."""

    def delay(self, attempts: int) -> float:
        """Seconds until the next try after so many."""
        return self.delays[min(attempts, len(self.delays)) - 1]

    def gives_up(self, error: Exception, attempts: int) -> bool:
        """A fault that may pass is waited out, however long it takes."""
        if isinstance(error, UnavailableError):
            return False
        return isinstance(error, UndecodableError) or attempts > len(self.delays)


def is_database_fault(error: Exception) -> bool:
    """Whether our own database failed (away, a deadlock): the record itself is not to blame."""
    return isinstance(error, UnavailableError) and isinstance(error.__cause__, DBAPIError)
