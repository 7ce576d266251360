"""How much more than the champion a version may refuse, fail at or be slow with."""

from typing import NamedTuple


class Margin(NamedTuple):
    """What a version may have: `ratio` times the champion's share, or `points` above it if more."""

    ratio: float
    points: float

    def allowed(self, champion: float) -> float:
        """The highest share that is no harm, given the champion's."""
        return min(max(self.ratio * champion, champion + self.points), 1.0)
