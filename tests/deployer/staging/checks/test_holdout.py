"""Which rows are fair to two versions, and what a version is told that brings none."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from loopwright_common.deploy_policy import HoldoutPolicy, StagingPolicy
from loopwright_common.events import Check, Dataset
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext
from loopwright_deployer.staging.checks.holdout import HoldoutCheck
from loopwright_deployer.staging.evaluation.holdout_rows import (
    Holdout,
    Training,
    UnusableHoldoutError,
)
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient
from tests.deployer.builders import MODEL
from tests.deployer.staging import answering
from tests.deployer.staging.answering import SPEC, held_out, labeller, regressor
from tests.deployer.staging.recorded import recorded

Asked = tuple[str, set[int], bool]
"""Of which dataset, fair to what was learned by which versions, and whether by times too."""


def version(number: int, **digests: str) -> StagedVersion:
    """With datasets of these digests by role; nobody asks it anything."""
    return answering.version(number, ScorerClient("http://127.0.0.1:9", MODEL), SPEC, **digests)


async def decided(
    candidate: StagedVersion,
    champion: StagedVersion | None,
    found: Holdout | Exception,
    policy: StagingPolicy | None = None,
    asked: list[Asked] | None = None,
) -> Check:
    """What the check says of the rows that are found, or of why there are none.

    What it asks for goes to `asked`.
    """

    async def read(dataset: Dataset, trainings: Sequence[Training], by_time: bool) -> Holdout:
        if asked is not None:
            asked.append((dataset.digest, {each.version for each in trainings}, by_time))
        if isinstance(found, Exception):
            raise found
        return found

    context = StagingContext(
        policy=policy or StagingPolicy(),
        candidate=candidate,
        champion=champion,
        read_holdout=read,
        time_limit=300,
        recorded=recorded(),
    )
    return await HoldoutCheck().run(context)


async def asked_for(candidate: StagedVersion, champion: StagedVersion | None) -> list[Asked]:
    asked: list[Asked] = []
    await decided(candidate, champion, UnusableHoldoutError("enough"), asked=asked)
    return asked


async def test_a_holdout_that_both_brought_is_fair_whatever_its_times() -> None:
    first, second = (version(n, training=f"t{n}", holdout="h") for n in (1, 2))

    assert await asked_for(second, first) == [("sha256:h", {1, 2}, False)]
    assert await asked_for(first, None) == [("sha256:h", {1}, False)]


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
async def test_else_its_times_count_too(first: dict[str, str], second: dict[str, str]) -> None:
    asked = await asked_for(version(2, **second), version(1, **first))

    assert [(trainings, by_time) for _, trainings, by_time in asked] == [({1, 2}, True)]


async def test_rows_left_out_are_told_with_the_version_that_learned_them() -> None:
    truth = np.arange(300.0)
    found = replace(held_out(truth), learned={1: 12, 2: 0}, untold={2: "its training is gone"})

    check = await decided(regressor(2, truth + 1), regressor(1, truth + 2), found)

    assert check.verdict == "passed"
    assert check.sentence.endswith(
        "; left out: 12 rows that version 1 was trained on; not known whether version 2 was trained"
        " on some: its training is gone"
    )


@pytest.mark.parametrize(
    ("holdout", "later_than", "needed"),
    [
        ("h", None, "in the holdout of both"),
        ("i", None, "in neither training"),
        ("i", datetime(2026, 1, 1, tzinfo=UTC), "later than both trainings"),
    ],
)
async def test_a_pause_names_its_rows_and_what_would_end_it(
    holdout: str, later_than: datetime | None, needed: str
) -> None:
    candidate, champion = (
        version(2, training="b", holdout=holdout),
        version(1, training="a", holdout="h"),
    )
    found = replace(held_out(np.arange(5.0)), learned={1: 300}, later_than=later_than)

    check = await decided(candidate, champion, found)

    assert check.verdict == "inconclusive"
    assert check.sentence.startswith(f"only 5 labelled rows {needed}, 200 needed: ")
    assert "(`register: {holdout: FILE}` of loopwright.yaml)" in check.sentence
    assert "; else `loopwright deployments resume bank/2`" in check.sentence
    assert check.sentence.endswith("; left out: 300 rows that version 1 was trained on")


async def test_a_first_version_that_learned_its_holdout_is_told() -> None:
    found = replace(held_out(np.arange(0.0)), learned={1: 300})

    check = await decided(version(1, training="a", holdout="h"), None, found)

    assert (check.verdict, check.sentence) == (
        "skipped",
        "the holdout dataset has no labelled rows that the version was not trained on",
    )


async def test_who_leaves_the_holdout_away_is_not_better_off() -> None:
    with_one, without = version(1, training="a", holdout="h"), version(2, training="b")
    unread = AssertionError("there is none to read")

    unclear = await decided(without, with_one, unread)
    alone = await decided(without, None, unread)
    neither = await decided(without, version(1, training="a"), unread)

    assert unclear.verdict == "inconclusive"
    assert "version 1 has one: name it in `register: {holdout: FILE}`" in unclear.sentence
    assert (alone.verdict, neither.verdict) == ("skipped", "skipped")


@pytest.mark.parametrize(
    ("first", "second", "remedy"),
    [
        ({"training": "a"}, {}, '`mlflow.log_artifact("training.parquet", "loopwright")`'),
        ({}, {"training": "b"}, "bring the holdout file of version 1 as it is"),
    ],
)
async def test_who_does_not_say_what_it_was_trained_on_is_told_what_helps(
    first: dict[str, str], second: dict[str, str], remedy: str
) -> None:
    unread = AssertionError("no row of it is fair")

    unclear = await decided(
        version(2, holdout="i", **second), version(1, holdout="h", **first), unread
    )

    assert unclear.verdict == "inconclusive"
    assert remedy in unclear.sentence


async def test_a_holdout_of_both_is_compared_also_where_a_training_is_not_known() -> None:
    truth = np.arange(300.0)
    unnamed = replace(regressor(1, truth + 2), registered=version(1, holdout="h").registered)

    check = await decided(regressor(2, truth + 1), unnamed, held_out(truth))

    assert check.verdict == "passed"
    assert "not known whether version 1 was trained on some: it came without" in check.sentence
    assert "mlflow.log_artifact" in check.sentence


async def test_a_metric_that_is_none_of_the_versions_is_refused_before_any_row_is_read() -> None:
    policy = StagingPolicy(holdout=HoldoutPolicy(metric="log_loss"))
    versions = regressor(2, [1.0]), regressor(1, [1.0])

    for champion in (versions[1], None):
        unread = AssertionError("refused before any row is read")
        refused = await decided(versions[0], champion, unread, policy)

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
    assert beside.sentence == f"{alone.sentence}; else `loopwright deployments resume bank/2`"
    assert "the target is 3.0 in each of 300 rows, and r2 is a share" in beside.sentence


async def test_a_champion_of_another_kind_pauses() -> None:
    truth = np.arange(300) % 2

    unclear = await decided(regressor(2, truth), labeller(1, truth.tolist()), held_out(truth))

    assert unclear.verdict == "inconclusive"
    assert unclear.sentence == (
        "r2 is no loss of a classifier, which version 1 is: `loopwright deployments resume bank/2`"
        " goes on without this comparison"
    )


async def test_a_slice_that_is_worse_fails_and_one_that_is_not_clear_pauses_nothing() -> None:
    """The rest is so much better that the mean of all rows is too."""
    truth = np.zeros(1200)
    error = np.repeat([3.0, 0.1, 1.0], 400)
    unclear = np.random.default_rng(1).choice([1.5, 0.05], 400)
    champion = regressor(1, np.repeat([1.0, 5.0, 1.0], 400))
    rows = replace(held_out(truth), columns={
        **held_out(truth).columns, "region": np.repeat(["north", "south", "east"], 400).tolist(),
    })  # fmt: skip
    policy = StagingPolicy(
        holdout=HoldoutPolicy(metric="squared_error", margin=0.1, slices=["region"])
    )
    worse = regressor(2, error)
    not_clear = regressor(2, np.concatenate([np.full(800, 0.1), unclear]))

    failed = await decided(worse, champion, rows, policy)
    passed = await decided(not_clear, champion, rows, policy)
    without = await decided(worse, champion, rows, StagingPolicy(
        holdout=HoldoutPolicy(metric="squared_error", margin=0.1)
    ))  # fmt: skip
    absent = await decided(worse, None, held_out(truth), policy)

    assert without.verdict == "passed"
    assert failed.verdict == "failed"
    assert "; worse by more than the margin where region is north: by +8" in failed.sentence
    assert passed.verdict == "passed"
    assert "of 3 slices 2 known to be no worse, 1 not clear, 0 worse" in passed.sentence
    assert absent.verdict == "failed"
    assert "deploy.staging.holdout.slices: the holdout dataset has no column region" in (
        absent.sentence
    )
