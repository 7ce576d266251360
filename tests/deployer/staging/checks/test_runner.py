"""The checks against real staging scorers."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline

from loopwright_common.deploy_policy import StagingPolicy
from loopwright_common.events import Check, Dataset
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_deployer.packaging.build import PackagingJob, build_package
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext
from loopwright_deployer.staging.checks.holdout_comparison import check_holdout
from loopwright_deployer.staging.checks.runner import run_checks
from loopwright_deployer.staging.evaluation.holdout_reader import TrainingFile, read_holdout
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout, Training
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient
from tests.deployer.builders import (
    COLUMNS,
    MODEL,
    customers,
    pipeline,
    registered,
    skops_package,
    with_example,
)
from tests.deployer.staging.recorded import recorded
from tests.deployer.staging.scorers import staging_scorer

START = datetime(2026, 1, 1, tzinfo=UTC)
DATASET = {"digest": "sha256:x", "location": "x", "rows": 1, "target": "y"}


def serving_package(directory: Path, estimator: Any) -> Path:
    source = skops_package(directory / "source", estimator, COLUMNS)
    with_example(source, ["age", "rate", "job"], [[30, 0.5, "nurse"], [60, -0.5, "clerk"]])
    build_package(PackagingJob(source, directory / "target", "sha256:" + "1" * 64))
    return directory / "target"


async def serve(
    stack: AsyncExitStack, package: Path, version: int, directory: Path, *datasets: Dataset
) -> StagedVersion:
    """A version trained before 2026, in a staging scorer of its own."""
    spec = ServingSpec.model_validate_json((package / SPEC_FILE).read_text())
    url = await stack.enter_async_context(staging_scorer(directory, package, MODEL, version))
    training = {**DATASET, "role": "training", "until": START - timedelta(days=1)}
    return StagedVersion(
        ScorerClient(url, MODEL), registered(version, datasets=[training, *datasets]), spec
    )


def holdout_file(path: Path, rows: int = 600, labelled: Any = customers) -> Dataset:
    """One labelled row a minute from the start of 2026."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame, labels = labelled(rows, seed=9)
    times = [START + timedelta(minutes=row) for row in range(rows)]
    columns: dict[str, Any] = {name: frame[name].tolist() for name in frame.columns}
    pq.write_table(pa.table({**columns, "time": times, "y": labels.tolist()}), path)
    return Dataset.model_validate({**DATASET, "role": "holdout", "rows": rows})


def verdicts(checks: tuple[Check, ...]) -> dict[str, str]:
    return {check.name: check.verdict for check in checks}


async def test_a_good_version_passes_and_a_worse_one_fails_on_the_holdout(tmp_path: Path) -> None:
    champion = pipeline(seed=1)
    frame, labels = customers(400, seed=2)
    worse = pipeline(seed=2).fit(frame, np.random.default_rng(0).permutation(labels))
    dataset = holdout_file(tmp_path / "holdout.parquet")
    packages = [serving_package(tmp_path / str(i), e) for i, e in enumerate((champion, worse))]
    async with AsyncExitStack() as stack:
        first, second = await asyncio.gather(
            *(serve(stack, p, i, tmp_path, dataset) for i, p in enumerate(packages, start=1))
        )
        good = await run_checks(staged(first, None, tmp_path))
        bad = await run_checks(staged(second, first, tmp_path))
        early = await asyncio.to_thread(compared, second, first, tmp_path, dataset)

    assert verdicts(good) == {
        "schema": "passed", "example": "passed", "hostile-inputs": "passed",
        "holdout": "passed", "latency": "skipped", "replay": "skipped",
    }, good  # fmt: skip
    assert verdicts(bad)["holdout"] == "failed"
    assert "on 600 later rows" in next(c.sentence for c in bad if c.name == "holdout")
    assert early.verdict == "inconclusive"
    assert early.sentence.startswith("only 99 labelled rows later than both trainings")


async def test_a_version_that_answers_labels_only_is_judged_by_its_error_rate(
    tmp_path: Path,
) -> None:
    estimator = make_pipeline(pipeline()[0], RidgeClassifier()).fit(*customers(400))
    dataset = holdout_file(tmp_path / "holdout.parquet")
    async with AsyncExitStack() as stack:
        package = serving_package(tmp_path, estimator)
        version = await serve(stack, package, 1, tmp_path, dataset)
        checks = await run_checks(staged(version, None, tmp_path))
        unsuited = await run_checks(staged(version, None, tmp_path, "log_loss"))

    assert set(verdicts(checks).values()) == {"passed", "skipped"}, checks
    assert next(c.unit for c in checks if c.name == "holdout") == "error_rate"
    found = next(check for check in unsuited if check.name == "holdout")
    assert (found.verdict, "or use error_rate" in found.sentence) == ("failed", True)


async def test_a_regressor_is_judged_in_shares_of_its_targets_variance(tmp_path: Path) -> None:
    """Prices of some 100,000, of which no margin is set."""
    frame, prices = houses(400, seed=2)
    estimators = [
        make_pipeline(clone(pipeline()[0]), Ridge()).fit(rows, labels)
        for rows, labels in (
            (frame, prices),
            houses(400, seed=3),
            (frame, np.random.default_rng(0).permutation(prices)),
        )
    ]
    dataset = holdout_file(tmp_path / "holdout.parquet", labelled=houses)
    async with AsyncExitStack() as stack:
        packages = [serving_package(tmp_path / str(i), e) for i, e in enumerate(estimators)]
        first, again, shuffled = await asyncio.gather(
            *(serve(stack, p, i, tmp_path, dataset) for i, p in enumerate(packages, start=1))
        )
        refused = await run_checks(staged(first, None, tmp_path, "log_loss"))
        alike = await run_checks(staged(again, first, tmp_path))
        worse = await run_checks(staged(shuffled, first, tmp_path))

    found = [next(c for c in each if c.name == "holdout") for each in (refused, alike, worse)]
    assert [check.verdict for check in found] == ["failed", "passed", "failed"], found
    assert [check.sentence.startswith("1 - r2 ") for check in found] == [False, True, True]


def houses(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """The columns of `customers`, and prices that depend on them."""
    frame, _ = customers(rows, seed)
    noise = np.random.default_rng(seed).normal(0, 10_000, rows)
    return frame, 1e5 + 3e4 * frame.rate + 5e4 * (frame.job == "nurse") + noise


def staged(
    candidate: StagedVersion,
    champion: StagedVersion | None,
    directory: Path,
    metric: str | None = None,
) -> StagingContext:
    async def read(dataset: Dataset, trainings: Sequence[Training], by_time: bool) -> Holdout:
        lost = [TrainingFile(one, None, "lost") for one in trainings]
        return read_holdout(directory / "holdout.parquet", dataset, lost, by_time=by_time)

    return StagingContext(
        policy=StagingPolicy.model_validate({"holdout": {"metric": metric}}),
        candidate=candidate,
        champion=champion,
        read_holdout=read,
        recorded=recorded(),
        time_limit=300,
    )


def compared(
    candidate: StagedVersion, champion: StagedVersion, directory: Path, dataset: Dataset
) -> Check:
    """The holdout check where the last training ended 100 rows before the end."""
    until = START + timedelta(minutes=500)
    training = Dataset.model_validate({**DATASET, "role": "training", "until": until, "rows": 9})
    lost = TrainingFile(Training(1, training, ()), None, "lost")
    holdout = read_holdout(directory / "holdout.parquet", dataset, [lost], by_time=True)
    with candidate.client, champion.client:
        return check_holdout(StagingPolicy().holdout, holdout, candidate, champion)


async def test_a_scorer_that_is_gone_fails_the_checks_with_the_reason(tmp_path: Path) -> None:
    package = serving_package(tmp_path, pipeline())
    spec = ServingSpec.model_validate_json((package / SPEC_FILE).read_text())
    gone = StagedVersion(ScorerClient("http://127.0.0.1:9", MODEL), registered(1), spec)

    checks = await run_checks(staged(gone, None, tmp_path))

    assert verdicts(checks) == {"schema": "failed"}
