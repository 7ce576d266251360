"""Is the candidate's loss on rows that no training saw worse than the champion's?"""

import asyncio
from collections.abc import Sequence

from loopwright_common.errors import InvalidError
from loopwright_common.events import Check, Dataset, ModelRegistered
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext, verdict_of
from loopwright_deployer.staging.checks.holdout_comparison import (
    HOLDOUT_KEY,
    LATER,
    NAME,
    SHARED,
    TRAINING_KEY,
    UNSEEN,
    check_holdout,
    left_out,
    who_resumes,
)
from loopwright_deployer.staging.checks.holdout_losses import refusal
from loopwright_deployer.staging.evaluation.holdout_rows import (
    Holdout,
    Training,
    UnusableHoldoutError,
)
from loopwright_deployer.staging.holdout_slices import slices_refusal


def _logged(file: str) -> str:
    """How a client of MLflow brings a dataset."""
    return f'`mlflow.log_artifact("{file}.parquet", "loopwright")` before it registers'


class HoldoutCheck:
    """The candidate's loss exceeds the champion's by less than the margin.

    On rows of the holdout that are in neither training: by their content, and by their times where
    the two did not bring one file.
    """

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        """Skipped or inconclusive where there are no rows that are fair to both versions."""
        if refused := refusal(staged.policy.holdout, staged.candidate):
            return verdict_of(NAME, "failed", refused)
        versions = [staged.candidate, *filter(None, [staged.champion])]
        dataset = dataset_of(staged.candidate.registered, "holdout")
        if dataset is None:
            return _without_holdout(staged)
        by_time = staged.champion is not None and not _hold_out_the_same(versions)
        trainings, untrained = _trainings(versions)
        if by_time and untrained:
            return _unfair(staged, untrained[0])
        try:
            holdout = await staged.read_holdout(dataset, trainings, by_time)
            if refused := slices_refusal(staged.policy.holdout, holdout):
                return verdict_of(NAME, "failed", refused)
            rows = SHARED if not by_time else LATER if holdout.later_than else UNSEEN
            check = await asyncio.to_thread(_compare, staged, holdout, rows)
            ending = left_out(holdout) + _without_training(untrained)
            return check.model_copy(update={"sentence": check.sentence + ending})
        except UnusableHoldoutError as error:
            return _unmeasured(str(error), staged)


def dataset_of(registered: ModelRegistered, role: str) -> Dataset | None:
    return next((d for d in registered.datasets if d.role == role), None)


def _trainings(versions: Sequence[StagedVersion]) -> tuple[list[Training], list[int]]:
    """What the versions were trained on, and the numbers of those that do not say."""
    trainings, untrained = [], []
    for version in versions:
        number, spec = version.registered.version, version.spec
        dataset = dataset_of(version.registered, "training")
        if dataset is None:
            untrained.append(number)
            continue
        names = [spec.tensor.name] if spec.tensor else [c.name for c in spec.columns or ()]
        trainings.append(Training(number, dataset, tuple(names)))
    return trainings, untrained


def _compare(staged: StagingContext, holdout: Holdout, rows: str) -> Check:
    policy, versions = staged.policy.holdout, (staged.candidate, staged.champion)
    try:
        return check_holdout(policy, holdout, *versions, rows, staged.details)
    except UnusableHoldoutError:
        raise
    except InvalidError as error:
        return _unclear(f"{error}: {who_resumes(staged.candidate)} goes on without this comparison")


def _unfair(staged: StagingContext, untrained: int) -> Check:
    candidate = staged.candidate.registered
    brought = (
        f"name its rows in {TRAINING_KEY}, or {_logged('training')}"
        if untrained == candidate.version
        else f"bring the holdout file of version {untrained} as it is ({HOLDOUT_KEY})"
    )
    return _unclear(
        f"version {untrained} came without a training dataset, so no rows are known to be in"
        f" neither training: {brought}; else {who_resumes(staged.candidate)}"
    )


def _without_training(untrained: Sequence[int]) -> str:
    return "".join(
        f"; not known whether version {number} was trained on some: it came without a training"
        f" dataset ({TRAINING_KEY}, or {_logged('training')})"
        for number in untrained
    )


def _hold_out_the_same(versions: Sequence[StagedVersion]) -> bool:
    """Whether all brought one holdout dataset, which none says that it was trained on."""
    held = [dataset_of(each.registered, "holdout") for each in versions]
    trained = [dataset_of(each.registered, "training") for each in versions]
    digests = {dataset and dataset.digest for dataset in held}
    return len(digests) == 1 and not digests & {each.digest for each in trained if each}


def _without_holdout(staged: StagingContext) -> Check:
    without, champion = "the version came without a holdout dataset", staged.champion
    if champion is not None and dataset_of(champion.registered, "holdout") is not None:
        without += (
            f", and version {champion.registered.version} has one: name it in {HOLDOUT_KEY}, or"
            f" {_logged('holdout')}"
        )
    return _unmeasured(without, staged)


def _unmeasured(why: str, staged: StagingContext) -> Check:
    """Leaving the rows away, or what they are measured by, is no way around the comparison."""
    champion = staged.champion
    if champion is None or dataset_of(champion.registered, "holdout") is None:
        return verdict_of(NAME, "skipped", why)
    return _unclear(f"{why}; else {who_resumes(staged.candidate)}")


def _unclear(sentence: str) -> Check:
    return verdict_of(NAME, "inconclusive", sentence)
