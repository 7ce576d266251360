"""Which rows are fair to two versions, and what a version is told that brings none."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest

from loopwright_common.deploy_policy import HoldoutPolicy, StagingPolicy
from loopwright_common.events import Check, Dataset
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext
from loopwright_deployer.staging.checks.holdout import HoldoutCheck
from loopwright_deployer.staging.checks.holdout_comparison import TIMES_REMEDY
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout, UnusableHoldoutError
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient
from tests.deployer.builders import MODEL
from tests.deployer.staging import answering
from tests.deployer.staging.answering import SPEC, held_out, labeller, regressor
from tests.deployer.staging.recorded import recorded


def version(number: int, **digests: str) -> StagedVersion:
    """With datasets of these digests by role; nobody asks it anything."""
    return answering.version(number, ScorerClient("http://127.0.0.1:9", MODEL), SPEC, **digests)


async def decided(
    candidate: StagedVersion, champion: StagedVersion | None, found: Holdout | Exception
) -> Check:
    """What the check says of a holdout that both brought, or that its reader gives up."""

    async def read(_dataset: Dataset, _later_than: datetime | None) -> Holdout:
        if isinstance(found, Exception):
            raise found
        return found

    context = StagingContext(
        policy=StagingPolicy(),
        candidate=candidate,
        champion=champion,
        read_holdout=read,
        time_limit=300,
        recorded=recorded(),
    )
    return await HoldoutCheck().run(context)


async def asked_for(
    candidate: StagedVersion, champion: StagedVersion | None, policy: StagingPolicy | None = None
) -> Any:
    """From when on the rows of the holdout have to be, where they are read at all."""
    asked: list[Any] = []

    async def read(dataset: Dataset, later_than: datetime | None) -> Any:
        asked.append(later_than)
        raise UnusableHoldoutError("enough")

    context = StagingContext(
        policy=policy or StagingPolicy(),
        candidate=candidate,
        champion=champion,
        read_holdout=read,
        time_limit=300,
        recorded=recorded(),
    )
    check = await HoldoutCheck().run(context)
    return asked[0] if asked else check


async def test_of_a_holdout_that_both_brought_all_rows_are_fair() -> None:
    first, second = (version(n, training=f"t{n}", holdout="h") for n in (1, 2))

    assert await asked_for(second, first) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"training": "a", "holdout": "h"}, {"training": "b", "holdout": "i"}),
        ({"training": "a", "holdout": "h"}, {"training": "h", "holdout": "h"}),
        ({"training": "h", "holdout": "h"}, {"training": "b", "holdout": "h"}),
        ({"training": "a"}, {"training": "b", "holdout": "h"}),
    ],
    ids=["different", "learned by the candidate", "learned by the champion", "one alone"],
)
async def test_else_they_are_later_than_both_trainings(
    first: dict[str, str], second: dict[str, str]
) -> None:
    later_than = await asked_for(version(2, **second), version(1, **first))

    assert isinstance(later_than, datetime)


async def test_who_leaves_the_holdout_away_is_not_better_off() -> None:
    with_one, without = version(1, training="a", holdout="h"), version(2, training="b")

    unclear = await asked_for(without, with_one)
    alone = await asked_for(without, None)
    neither = await asked_for(without, version(1, training="a"))

    assert unclear.verdict == "inconclusive"
    assert "version 1 has one: name it in `register: {holdout: FILE}`" in unclear.sentence
    assert (alone.verdict, neither.verdict) == ("skipped", "skipped")


async def test_who_does_not_say_until_when_it_was_trained_is_told_what_helps() -> None:
    unclear = await asked_for(version(2, holdout="i"), version(1, training="a", holdout="h"))

    assert unclear.verdict == "inconclusive"
    assert TIMES_REMEDY in unclear.sentence


async def test_a_metric_that_is_none_of_the_versions_is_refused_before_any_row_is_read() -> None:
    policy = StagingPolicy(holdout=HoldoutPolicy(metric="log_loss"))
    versions = regressor(2, [1.0]), regressor(1, [1.0])

    for champion in (versions[1], None):
        refused = await asked_for(versions[0], champion, policy)

        assert refused.verdict == "failed"
        assert refused.sentence.startswith("deploy.staging.holdout.metric: log_loss is no loss of")


async def test_a_holdout_without_a_target_is_no_way_around_the_comparison() -> None:
    with_one, own = version(1, training="a", holdout="h"), version(2, training="b", holdout="h")

    found = [
        (await decided(own, champion, UnusableHoldoutError("no target column"))).verdict
        for champion in (with_one, version(1, training="a"), None)
    ]

    assert found == ["inconclusive", "skipped", "skipped"]


async def test_a_constant_target_pauses_a_comparison_and_no_first_version() -> None:
    constant = held_out([3.0] * 300)

    beside, alone = [
        await decided(regressor(2, [3.0] * 300), champion, constant)
        for champion in (regressor(1, [3.0] * 300), None)
    ]

    assert (beside.verdict, alone.verdict) == ("inconclusive", "skipped")
    assert beside.sentence == alone.sentence
    assert "the target is 3.0 in each of 300 rows, and r2 is a share" in beside.sentence


async def test_a_champion_of_another_kind_pauses() -> None:
    truth = np.arange(300) % 2

    unclear = await decided(regressor(2, truth), labeller(1, truth.tolist()), held_out(truth))

    assert unclear.verdict == "inconclusive"
    assert unclear.sentence == (
        "r2 is no loss of a classifier, which version 1 is: resume to go on without this comparison"
    )
