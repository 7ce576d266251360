"""How much more than the champion a version may refuse, fail at or be slow with."""

from typing import NamedTuple, Self

from loopwright_common.deploy_policy import CanaryPolicy


class Margin(NamedTuple):
    """What a version may have: `ratio` times the champion's share, or `points` above it if more."""

    ratio: float
    points: float

    @classmethod
    def of(cls, policy: CanaryPolicy) -> Self:
        """What the policy permits of failed calls and refused requests."""
        return cls(policy.error_ratio, policy.margin)

    def allowed(self, champion: float) -> float:
        """The highest share that is no harm, given the champion's."""
        return min(max(self.ratio * champion, champion + self.points), 1.0)
