"""Is the candidate's loss on rows later than all training worse than the champion's?"""

import asyncio
from datetime import datetime

import numpy as np

from loopwright_common.deploy_policy import HoldoutPolicy
from loopwright_common.errors import InvalidError
from loopwright_common.events import Check, Dataset, ModelRegistered
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext, verdict_of
from loopwright_deployer.staging.evaluation.holdout_rows import (
    Holdout,
    UnusableHoldoutError,
    class_indices,
)
from loopwright_deployer.staging.evaluation.loss_comparison import (
    LEAST_ROWS,
    Floats,
    LossComparison,
    classifier_losses,
    compare_losses,
    regressor_losses,
)

NAME = "holdout"


class HoldoutCheck:
    """The candidate's loss on later rows exceeds the champion's by less than the margin."""

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        """Skipped or inconclusive where there are no rows that are fair to both versions."""
        candidate, champion = staged.candidate.registered, staged.champion
        dataset = dataset_of(candidate, "holdout")
        if dataset is None:
            return _skipped("the version came without a holdout dataset")
        if champion and (why := _unfair(candidate, champion.registered)):
            return _unclear(f"{why}, so no rows are known to be later than both trainings")
        later_than = trained_until(candidate, champion.registered) if champion else None
        try:
            holdout = await staged.read_holdout(dataset, later_than)
        except UnusableHoldoutError as error:
            return _skipped(str(error))
        try:
            return await asyncio.to_thread(
                check_holdout, staged.policy.holdout, holdout, staged.candidate, champion
            )
        except InvalidError as error:
            return _unclear(str(error))


def check_holdout(
    policy: HoldoutPolicy,
    holdout: Holdout,
    challenger: StagedVersion,
    champion: StagedVersion | None,
) -> Check:
    """The challenger's loss against the champion's, or alone where there is none.

    InvalidError where a version's answers have no loss by the policy's metric.
    """
    if (targets := challenger.spec.targets) > 1:
        return _skipped(f"{targets} answers a row have no {policy.metric} against one target")
    if champion is not None and holdout.rows < LEAST_ROWS:
        return _unclear(
            f"only {holdout.rows} labelled rows are later than both trainings, {LEAST_ROWS} needed"
        )
    if not holdout.rows:
        return _skipped("the holdout dataset has no labelled rows")
    own = losses(policy, holdout, challenger)
    if champion is None:
        sentence = f"{policy.metric} {own.mean():.4f} on {len(own)} rows; no champion to compare"
        mean = float(own.mean())
        return Check(
            name=NAME, verdict="passed", measured=mean, unit=policy.metric, sentence=sentence
        )
    return _compared(policy, compare_losses(own, losses(policy, holdout, champion), policy.margin))


def losses(policy: HoldoutPolicy, holdout: Holdout, version: StagedVersion) -> Floats:
    """Loss per row of what the scorer answers, [n].

    InvalidError where the metric is not for answers such as these.
    """
    spec = version.spec
    if spec.targets > 1:
        raise InvalidError(f"the champion gives {spec.targets} answers a row")
    answers = version.client.score(holdout.values(spec))
    if spec.task == "regressor":
        predicted = answers["prediction"].astype(np.float64).reshape(-1)
        return regressor_losses(predicted, np.array(holdout.truth(), dtype=np.float64))
    if policy.metric == "squared_error":
        raise InvalidError("squared_error is for regressors; use log_loss, brier or error_rate")
    classes = spec.classes or []
    truth = class_indices(holdout.truth(), classes)
    if "probabilities" in answers:
        return classifier_losses(policy.metric, answers["probabilities"].astype(np.float64), truth)
    if policy.metric != "error_rate":
        raise InvalidError(
            f"{policy.metric} needs probabilities, and the version answers labels only: set"
            " metric: error_rate"
        )
    return np.asarray(class_indices(answers["label"].tolist(), classes) != truth, np.float64)


def dataset_of(registered: ModelRegistered, role: str) -> Dataset | None:
    return next((d for d in registered.datasets if d.role == role), None)


def trained_until(*versions: ModelRegistered) -> datetime | None:
    """The latest end of the versions' training data."""
    ends = [d.until for v in versions if (d := dataset_of(v, "training")) and d.until]
    return max(ends, default=None)


def _unfair(challenger: ModelRegistered, champion: ModelRegistered) -> str | None:
    """Why no rows can be told to be later than both trainings, or None."""
    for registered in (challenger, champion):
        training = dataset_of(registered, "training")
        if training is None or training.until is None:
            return f"version {registered.version} does not say until when it was trained"
    return None


def _compared(policy: HoldoutPolicy, comparison: LossComparison) -> Check:
    sentence = (
        f"{policy.metric} {comparison.challenger:.4f} against the champion's "
        f"{comparison.champion:.4f} on {comparison.rows} later rows: difference "
        f"{comparison.difference:+.4f}, at most {comparison.upper:+.4f} with 95 % confidence, "
        f"allowed below {policy.margin:+g}"
    )
    return Check(
        name=NAME,
        verdict=comparison.verdict,
        measured=comparison.upper,
        limit=policy.margin,
        unit=policy.metric,
        sentence=sentence,
    )


def _unclear(sentence: str) -> Check:
    return verdict_of(NAME, "inconclusive", sentence)


def _skipped(sentence: str) -> Check:
    return verdict_of(NAME, "skipped", sentence)
