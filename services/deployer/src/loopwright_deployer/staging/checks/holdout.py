"""Is the candidate's loss on rows that no training saw worse than the champion's?"""

import asyncio
from datetime import datetime

from loopwright_common.errors import InvalidError
from loopwright_common.events import Check, Dataset, ModelRegistered
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext, verdict_of
from loopwright_deployer.staging.checks.holdout_comparison import (
    LATER,
    NAME,
    SHARED,
    TIMES_REMEDY,
    check_holdout,
)
from loopwright_deployer.staging.checks.holdout_losses import refusal
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout, UnusableHoldoutError


class HoldoutCheck:
    """The candidate's loss exceeds the champion's by less than the margin.

    On rows later than both trainings, or of a holdout dataset that both versions brought.
    """

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        """Skipped or inconclusive where there are no rows that are fair to both versions."""
        if refused := refusal(staged.policy.holdout, staged.candidate):
            return verdict_of(NAME, "failed", refused)
        candidate, champion = staged.candidate.registered, staged.champion
        dataset = dataset_of(candidate, "holdout")
        if dataset is None:
            return _without_holdout(champion)
        shared = champion is not None and _hold_out_the_same(candidate, champion.registered)
        if champion and not shared and (why := _unfair(candidate, champion.registered)):
            return _unclear(
                f"{why}, so no rows are known to be later than both trainings: {TIMES_REMEDY}"
            )
        later_than = (
            trained_until(candidate, champion.registered) if champion and not shared else None
        )
        try:
            holdout = await staged.read_holdout(dataset, later_than)
            rows = SHARED if shared else LATER
            return await asyncio.to_thread(_compare, staged, holdout, rows)
        except UnusableHoldoutError as error:
            return _unmeasured(str(error), champion)


def dataset_of(registered: ModelRegistered, role: str) -> Dataset | None:
    return next((d for d in registered.datasets if d.role == role), None)


def trained_until(*versions: ModelRegistered) -> datetime | None:
    """The latest end of the versions' training data."""
    ends = [d.until for v in versions if (d := dataset_of(v, "training")) and d.until]
    return max(ends, default=None)


def _compare(staged: StagingContext, holdout: Holdout, rows: str) -> Check:
    try:
        return check_holdout(
            staged.policy.holdout, holdout, staged.candidate, staged.champion, rows
        )
    except UnusableHoldoutError:
        raise
    except InvalidError as error:
        return _unclear(f"{error}: resume to go on without this comparison")


def _unfair(challenger: ModelRegistered, champion: ModelRegistered) -> str | None:
    """Why no rows can be told to be later than both trainings, or None."""
    for registered in (challenger, champion):
        training = dataset_of(registered, "training")
        if training is None or training.until is None:
            return f"version {registered.version} does not say until when it was trained"
    return None


def _hold_out_the_same(challenger: ModelRegistered, champion: ModelRegistered) -> bool:
    """Whether both brought one holdout dataset, which neither says that it was trained on."""
    own, other = dataset_of(challenger, "holdout"), dataset_of(champion, "holdout")
    trained = {d.digest for v in (challenger, champion) if (d := dataset_of(v, "training"))}
    return own is not None and other is not None and own.digest == other.digest not in trained


def _without_holdout(champion: StagedVersion | None) -> Check:
    without = "the version came without a holdout dataset"
    if champion is not None and dataset_of(champion.registered, "holdout") is not None:
        without += (
            f", and version {champion.registered.version} has one: name it in "
            "`register: {holdout: FILE}` of loopwright.yaml, or log it to the run with the context "
            "`holdout`"
        )
    return _unmeasured(without, champion)


def _unmeasured(why: str, champion: StagedVersion | None) -> Check:
    """Leaving the rows away, or what they are measured by, is no way around the comparison."""
    if champion is None or dataset_of(champion.registered, "holdout") is None:
        return verdict_of(NAME, "skipped", why)
    return _unclear(why)


def _unclear(sentence: str) -> Check:
    return verdict_of(NAME, "inconclusive", sentence)
