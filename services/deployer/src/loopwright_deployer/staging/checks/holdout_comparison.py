"""What a version's answers on the holdout say beside the champion's."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from loopwright_common.deploy_policy import IN_UNITS_OF_THE_TARGET, HoldoutPolicy, Metric
from loopwright_common.errors import InvalidError
from loopwright_common.events import Check
from loopwright_common.wording import counted
from loopwright_deployer.staging.checks.base import StagedVersion, verdict_of
from loopwright_deployer.staging.checks.holdout_losses import (
    MARGIN_KEY,
    losses_of,
    metric_for,
    scale_of,
)
from loopwright_deployer.staging.evaluation.holdout_rows import (
    MAX_ROWS,
    Holdout,
    UnusableHoldoutError,
)
from loopwright_deployer.staging.evaluation.loss_comparison import (
    LEAST_ROWS,
    LossComparison,
    compare_losses,
    rows_to_tell,
)
from loopwright_deployer.staging.evaluation.row_losses import Floats
from loopwright_deployer.staging.holdout_slices import (
    SliceComparison,
    compare_slices,
    slices_of,
    told,
)

NAME = "holdout"
LATER, SHARED, UNSEEN = "later rows", "rows that both held out", "rows in neither training"
_KINDS = {
    LATER: "later than both trainings",
    SHARED: "in the holdout of both",
    UNSEEN: "in neither training",
}
HOLDOUT_KEY, TRAINING_KEY = (
    f"`register: {{{role}: FILE}}` of loopwright.yaml" for role in ("holdout", "training")
)
TIMES_REMEDY = (
    "keep the champion's holdout file as it is, or give the rows of both datasets a `time` column"
    f" and hold out later ones ({HOLDOUT_KEY})"
)
_UNSEEN_REMEDY = (
    f"hold out {LEAST_ROWS} or more that neither version was trained on ({HOLDOUT_KEY})"
)


def check_holdout(
    policy: HoldoutPolicy,
    holdout: Holdout,
    challenger: StagedVersion,
    champion: StagedVersion | None,
    rows: str = LATER,
    report: dict[str, Any] | None = None,
) -> Check:
    """The challenger's loss against the champion's, or alone where there is none.

    `rows` says of what kind those of the holdout are; its slices go to the `report`, and one that
    is known to be worse fails the challenger. UnusableHoldoutError where no version has a loss on
    the rows, InvalidError where one of the two has none.
    """
    if (targets := challenger.spec.targets) > 1:
        return verdict_of(NAME, "skipped", f"{targets} answers a row have no loss by one target")
    if champion is not None and holdout.rows < LEAST_ROWS:
        return _too_few(holdout.rows, rows, challenger)
    if not holdout.rows:
        others = " that the version was not trained on" if any(holdout.learned.values()) else ""
        raise UnusableHoldoutError(f"the holdout dataset has no labelled rows{others}")
    metric = metric_for(policy, challenger, *filter(None, [champion]))
    scale, own = scale_of(metric, holdout), losses_of(metric, holdout, challenger)
    if not np.isfinite(own).all():
        return verdict_of(NAME, "failed", _no_figure(challenger, own))
    if champion is None:
        return _alone(metric, own, scale)
    other = losses_of(metric, holdout, champion)
    if not np.isfinite(other).all():
        raise InvalidError(_no_figure(champion, other))
    found = compare_losses(own, other, policy.allowed, scale)
    check = _compared(metric, policy.allowed, found, rows, challenger)
    if policy.slices:
        slices = slices_of(holdout, policy.slices)
        compared = compare_slices(slices, own, other, policy.allowed, scale)
        check = _with_slices(check, metric, compared, {} if report is None else report)
    return check


def _with_slices(
    check: Check, metric: Metric, compared: Sequence[SliceComparison], report: dict[str, Any]
) -> Check:
    """That of all rows, but failed where a slice is known to be worse; no other slice decides."""
    report[NAME] = {"slices": [each.as_row() for each in compared]}
    sentence = check.sentence + told(compared, partial(_figure, metric, sign="+"))
    worse = any(each.found.verdict == "failed" for each in compared)
    verdict = "failed" if worse else check.verdict
    return check.model_copy(update={"sentence": sentence, "verdict": verdict})


def who_resumes(version: StagedVersion) -> str:
    """The command that lets a version go on without what is not clear."""
    registered = version.registered
    return f"`loopwright deployments resume {registered.model}/{registered.version}`"


def left_out(holdout: Holdout) -> str:
    """Which rows do not count, as the end of a sentence, and of which version that is not known."""
    counts = [
        f"{counted(count, 'row')} that version {version} was trained on"
        for version, count in holdout.learned.items()
        if count
    ]
    unknown = [
        f"; not known whether version {version} was trained on some: {why}"
        for version, why in holdout.untold.items()
    ]
    return (f"; left out: {', '.join(counts)}" if counts else "") + "".join(unknown)


def _too_few(count: int, rows: str, challenger: StagedVersion) -> Check:
    remedy = TIMES_REMEDY if rows == LATER else _UNSEEN_REMEDY
    found = f"only {counted(count, 'labelled row')} {_KINDS[rows]}"
    sentence = f"{found}, {LEAST_ROWS} needed: {remedy}; else {who_resumes(challenger)}"
    return verdict_of(NAME, "inconclusive", sentence)


def _no_figure(version: StagedVersion, losses: Floats) -> str:
    number, count = version.registered.version, int((~np.isfinite(losses)).sum())
    return f"version {number} answers {count} of {len(losses)} rows with no finite figure"


def _alone(metric: Metric, own: Floats, scale: Floats | None) -> Check:
    """Passed, with what the next version will miss where the rows are too few."""
    mean = float(own.mean() / (1.0 if scale is None else scale.mean()))
    sentence = f"{_loss(metric, mean)} on {counted(len(own), 'row')}; no champion to compare"
    if len(own) < LEAST_ROWS:
        sentence += f"; to compare the next version takes {LEAST_ROWS} rows, hold out more"
    return Check(name=NAME, verdict="passed", measured=mean, unit=_name(metric), sentence=sentence)


def _compared(
    metric: Metric, margin: float, found: LossComparison, rows: str, challenger: StagedVersion
) -> Check:
    sentence = (
        f"{_loss(metric, found.challenger)} against the champion's"
        f" {_figure(metric, found.champion)} on {found.rows} {rows}: difference"
        f" {_figure(metric, found.difference, '+')}, from {_figure(metric, found.lower, '+')} to"
        f" {_figure(metric, found.upper, '+')} with 95 % confidence, allowed below {margin:+g}"
    )
    if found.verdict == "inconclusive":
        sentence += f"; {_remedy(found, margin, rows, challenger)}"
    return Check(
        name=NAME,
        verdict=found.verdict,
        measured=found.upper,
        limit=margin,
        unit=_name(metric),
        sentence=sentence,
    )


def _remedy(found: LossComparison, margin: float, rows: str, challenger: StagedVersion) -> str:
    """What would make an unclear outcome clear."""
    wanted = rows_to_tell(found, margin)
    others = f"set a wider {MARGIN_KEY} of loopwright.yaml, or {who_resumes(challenger)}"
    if wanted > MAX_ROWS:
        return (
            f"not clear, and at this difference not by {MAX_ROWS} rows either, the most that are"
            f" read: {others}"
        )
    more = f"it takes about {wanted:.0f} {rows} ({HOLDOUT_KEY})"
    return f"not clear: at this difference {more}; else {others}"


def _name(metric: Metric) -> str:
    """That of the loss: of r2, more is better."""
    return "1 - r2" if metric == "r2" else metric


def _loss(metric: Metric, value: float) -> str:
    return f"{_name(metric)} {_figure(metric, value)}"


def _figure(metric: Metric, value: float, sign: str = "") -> str:
    """To four digits, of a loss that has a unit to six."""
    return f"{value:{sign}.6g}" if metric in IN_UNITS_OF_THE_TARGET else f"{value:{sign}.4g}"
