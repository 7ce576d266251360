"""Is the candidate's loss on rows that no training saw worse than the champion's?"""

import asyncio
from datetime import datetime

import numpy as np

from loopwright_common.deploy_policy import HoldoutPolicy
from loopwright_common.errors import InvalidError
from loopwright_common.events import Check, Dataset, ModelRegistered
from loopwright_common.wording import counted
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
LATER, SHARED = "later rows", "rows that both held out"
_KINDS = {LATER: "later than both trainings", SHARED: "in the holdout of both"}
_REMEDY = (
    "keep the champion's holdout file as it is, or give the rows of both datasets a `time` column"
    " and hold out later ones"
)


class HoldoutCheck:
    """The candidate's loss exceeds the champion's by less than the margin.

    On rows later than both trainings, or of a holdout dataset that both versions brought.
    """

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        """Skipped or inconclusive where there are no rows that are fair to both versions."""
        candidate, champion = staged.candidate.registered, staged.champion
        dataset = dataset_of(candidate, "holdout")
        if dataset is None:
            return _without_holdout(champion)
        shared = champion is not None and _hold_out_the_same(candidate, champion.registered)
        if champion and not shared and (why := _unfair(candidate, champion.registered)):
            return _unclear(
                f"{why}, so no rows are known to be later than both trainings: {_REMEDY}"
            )
        later_than = (
            trained_until(candidate, champion.registered) if champion and not shared else None
        )
        try:
            holdout = await staged.read_holdout(dataset, later_than)
        except UnusableHoldoutError as error:
            return _skipped(str(error))
        try:
            return await asyncio.to_thread(
                check_holdout,
                staged.policy.holdout,
                holdout,
                staged.candidate,
                champion,
                SHARED if shared else LATER,
            )
        except InvalidError as error:
            return _unclear(str(error))


def check_holdout(
    policy: HoldoutPolicy,
    holdout: Holdout,
    challenger: StagedVersion,
    champion: StagedVersion | None,
    rows: str = LATER,
) -> Check:
    """The challenger's loss against the champion's, or alone where there is none.

    `rows` says of what kind those of the holdout are.

    InvalidError where a version's answers have no loss by the policy's metric.
    """
    if (targets := challenger.spec.targets) > 1:
        return _skipped(f"{targets} answers a row have no {policy.metric} against one target")
    if champion is not None and holdout.rows < LEAST_ROWS:
        return _too_few(holdout.rows, rows)
    if not holdout.rows:
        return _skipped("the holdout dataset has no labelled rows")
    own = losses(policy, holdout, challenger)
    metric = _metric(policy, challenger)
    if champion is None:
        return _alone(metric, own)
    comparison = compare_losses(own, losses(policy, holdout, champion), policy.margin)
    return _compared(metric, policy.margin, comparison, rows)


def _metric(policy: HoldoutPolicy, version: StagedVersion) -> str:
    """What `losses` gives: a regressor has one loss, whatever the policy says for classifiers."""
    return "squared_error" if version.spec.task == "regressor" else policy.metric


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


def _hold_out_the_same(challenger: ModelRegistered, champion: ModelRegistered) -> bool:
    """Whether both brought one holdout dataset, which neither says that it was trained on."""
    own, other = dataset_of(challenger, "holdout"), dataset_of(champion, "holdout")
    trained = {d.digest for v in (challenger, champion) if (d := dataset_of(v, "training"))}
    return own is not None and other is not None and own.digest == other.digest not in trained


def _without_holdout(champion: StagedVersion | None) -> Check:
    """Leaving the rows away is no way around the comparison."""
    without = "the version came without a holdout dataset"
    if champion is None or dataset_of(champion.registered, "holdout") is None:
        return _skipped(without)
    return _unclear(
        f"{without}, and version {champion.registered.version} has one: name it in "
        "`register: {holdout: FILE}` of loopwright.yaml, or log it to the run with the context "
        "`holdout`"
    )


def _too_few(count: int, rows: str) -> Check:
    """More rows of a dataset that stays as it is are got by no other way than holding out more."""
    remedy = _REMEDY if rows == LATER else "hold out more, or resume without this comparison"
    found = f"only {counted(count, 'labelled row')} {_KINDS[rows]}"
    return _unclear(f"{found}, {LEAST_ROWS} needed: {remedy}")


def _alone(metric: str, own: Floats) -> Check:
    """Passed, with what the next version will miss where the rows are too few."""
    mean = float(own.mean())
    sentence = f"{metric} {mean:.4f} on {counted(len(own), 'row')}; no champion to compare"
    if len(own) < LEAST_ROWS:
        sentence += f"; to compare the next version takes {LEAST_ROWS} rows, hold out more"
    return Check(name=NAME, verdict="passed", measured=mean, unit=metric, sentence=sentence)


def _compared(metric: str, margin: float, comparison: LossComparison, rows: str) -> Check:
    sentence = (
        f"{metric} {comparison.challenger:.4f} against the champion's "
        f"{comparison.champion:.4f} on {comparison.rows} {rows}: difference "
        f"{comparison.difference:+.4f}, at most {comparison.upper:+.4f} with 95 % confidence, "
        f"allowed below {margin:+g}"
    )
    return Check(
        name=NAME,
        verdict=comparison.verdict,
        measured=comparison.upper,
        limit=margin,
        unit=metric,
        sentence=sentence,
    )


def _unclear(sentence: str) -> Check:
    return verdict_of(NAME, "inconclusive", sentence)


def _skipped(sentence: str) -> Check:
    return verdict_of(NAME, "skipped", sentence)
