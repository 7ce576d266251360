"""Are recorded requests answered as before? Not built yet, and said so."""

from loopwright_common.events import Check
from loopwright_deployer.staging.checks.base import StagingContext, verdict_of

NAME = "replay"


class ReplayCheck:
    """The candidate answers recorded requests as they were answered; always skipped yet."""

    name = NAME

    async def run(self, staged: StagingContext) -> Check:  # noqa: ARG002
        return verdict_of(NAME, "skipped", "recorded requests are not replayed yet")
