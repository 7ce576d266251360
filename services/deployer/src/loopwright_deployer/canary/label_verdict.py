"""What the labels of a canary's calls say of it, after it was promoted; pure.

A stratum is a step of the canary, in which chance decided which version answered a call. So
whatever else changed with the time cancels, as it does for the canary's other tests.
"""

from collections.abc import Sequence
from math import log

from loopwright_common.events import ArmComparison, Check, LabelledCalls, LabelledStep
from loopwright_common.wording import counted
from loopwright_deployer.canary.sequential_tests import Stratum, Tally, exceeds_log_e
from loopwright_deployer.canary.verdicts import HARMLESS_ALPHA, both_arms, compare_arms

NAME = "canary-labels"
LABELS_ALPHA = 0.01
"""The chance that a version which is wrong no more often than allowed is ever taken back."""


def judge_labels(
    steps: Sequence[LabelledStep], margin: float, wrong_above: float | None = None
) -> Check:
    """The check `canary-labels`: on how many of its labelled calls each version was wrong.

    `failed` where the version is known to be wrong on more of them in some step, by more than
    `margin`, than the champion of the canary, and is so over all steps; `passed` where it is known
    not to be.
    """
    strata = [
        Stratum(_tally(step.canary), _tally(step.champion))
        for step in steps
        if step.canary.calls and step.champion.calls
    ]
    if not strata:
        sentence = "no calls of both versions have labels yet"
        return Check(name=NAME, verdict="inconclusive", sentence=sentence)
    worse = exceeds_log_e(strata, margin)
    turned = [Stratum(champion, canary) for canary, champion in strata]
    harmless = exceeds_log_e(turned, -margin)
    canary, champion = both_arms(strata)
    comparison = compare_arms(strata, Tally(0, 0), worse, LABELS_ALPHA, harmless)
    if worse >= -log(LABELS_ALPHA) and _difference(strata) > margin:
        verdict = "failed"
    else:
        verdict = "passed" if harmless >= -log(HARMLESS_ALPHA) else "inconclusive"
    return Check.model_validate(
        {
            "name": NAME,
            "verdict": verdict,
            "measured": canary.share - champion.share,
            "limit": margin,
            "unit": "of labelled calls",
            "sentence": _sentence(canary, champion, comparison, margin, wrong_above),
            "comparison": comparison,
        }
    )


def _sentence(
    canary: Tally,
    champion: Tally,
    comparison: ArmComparison,
    margin: float,
    wrong_above: float | None,
) -> str:
    wrong = "wrong" if wrong_above is None else f"off by more than {wrong_above:.4g}"
    of = [
        f"{round(tally.hits, 1):g} of {counted(tally.calls, 'labelled call')} ({tally.share:.1%})"
        for tally in (canary, champion)
    ]
    sentence = (
        f"{of[0]} of the canary were {wrong} on the new version, {of[1]} on the champion of that "
        f"time; {counted(100 * margin, 'point')} more may be; evidence that more are "
        f"{comparison.worse:.3g} of {comparison.worse_limit:g}, that no more are "
        f"{comparison.harmless:.3g} of {comparison.harmless_limit:g}"
    )
    if comparison.low is None or comparison.high is None:
        return sentence
    low, high = 100 * comparison.low, 100 * comparison.high
    return f"{sentence}; the difference is between {low:.1f} and {high:.1f} points"


def _difference(strata: Sequence[Stratum]) -> float:
    """By how much the canary's share is above the champion's within strata: the mean of their
    differences, weighted as by Mantel and Haenszel.
    """
    weights = [1 / (1 / canary.calls + 1 / champion.calls) for canary, champion in strata]
    differences = [canary.share - champion.share for canary, champion in strata]
    return sum(w * d for w, d in zip(weights, differences, strict=True)) / sum(weights)


def _tally(labelled: LabelledCalls) -> Tally:
    return Tally(labelled.calls, min(labelled.wrong, labelled.calls))
