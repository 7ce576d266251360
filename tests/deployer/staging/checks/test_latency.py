"""What is told of a version's latency: of given figures, and of versions in real scorers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopwright_common.deploy_policy import LatencyPolicy, StagingPolicy
from loopwright_common.events import Check
from loopwright_common.serving.spec import SPEC_FILE, IsolatedSpec, ServingSpec, Tensor
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext
from loopwright_deployer.staging.checks.latency import (
    CALLS_ALONE,
    LatencyCheck,
    compared,
    timed_alone,
)
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient
from tests.deployer.builders import MODEL, registered
from tests.deployer.staging.recorded import recorded
from tests.deployer.staging.scorers import staging_scorer
from tests.scorer.packages import write_spec

TWICE, TIME = LatencyPolicy(), LatencyPolicy(at_most="0.05s")
EXAMPLE = [1.0, 1.0]
SLEEPER = """
import time

class Model:
    def predict(self, rows):
        if not rows.any():
            raise ValueError("no such row")
        time.sleep({seconds})
        return rows[:, 0]
"""


def draw(seed: int, calls: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(-6, 0.1, calls)


def test_a_slower_version_is_told_with_both_figures_the_bounds_and_the_limit() -> None:
    check = compared(TWICE, draw(1) + 0.06, draw(2), seconds=60)

    assert (check.verdict, check.unit) == ("failed", "x champion")
    assert (check.measured, check.limit) == pytest.approx((25.4, 2 + 10 / 2.46), rel=0.01)
    assert check.sentence == (
        "median 62.49 ms against the champion's 2.46 ms, 25.40x (24.60x to 26.06x); p95 62.74 ms"
        " against 2.88 ms, 21.76x (20.60x to 22.81x); 100 calls of each in turns, 95 % confidence,"
        " allowed below 2x champion plus 10 ms"
    )


def test_a_time_is_compared_with_the_p95_and_told_in_milliseconds() -> None:
    fast, slow = (compared(TIME, draw(1) + more, seconds=60) for more in (0.0, 0.06))

    assert (fast.verdict, slow.verdict) == ("passed", "failed")
    assert (slow.limit, slow.unit) == (0.05, "s")
    assert slow.sentence.endswith("; 100 calls, 95 % confidence, allowed below 0.05s")


def test_a_first_version_is_timed_and_told_how_to_have_a_limit() -> None:
    check = timed_alone(TWICE, draw(1))

    assert (check.verdict, check.limit, check.unit) == ("skipped", None, "s")
    assert "no champion to compare with (2x champion): at_most of staging.latency" in check.sentence


@pytest.mark.parametrize(
    ("calls", "seconds", "remedy"),
    [
        (800, 60, "a higher at_most of staging.latency in loopwright.yaml or a less busy machine"),
        (400, 60, "within 60s: a max_time of staging.latency in loopwright.yaml above 60s would"),
        (30, 60, "(bounds take 100 calls); 30 calls of each in turns"),
        (400, 20, "within 20s, half of LOOPWRIGHT_DEPLOYER_STAGE_SECONDS: more of these would"),
    ],
)
def test_what_is_not_clear_is_told_with_what_would_end_it(
    calls: int, seconds: float, remedy: str
) -> None:
    check = compared(
        LatencyPolicy(at_most="1x champion", slack="0s"),
        draw(1, calls),
        draw(2, calls),
        seconds=seconds,
    )

    assert check.verdict == "inconclusive"
    assert remedy in check.sentence


@asynccontextmanager
async def sleepers(
    directory: Path, *seconds: float, example: list[float] | None = EXAMPLE
) -> AsyncGenerator[list[StagedVersion]]:
    """Versions 1, 2 and so on, each in a scorer of its own, that sleep so long in every call."""
    async with AsyncExitStack() as stack:
        yield [
            await _serve(stack, _package(directory / str(number), taken, example), number)
            for number, taken in enumerate(seconds, start=1)
        ]


def _package(directory: Path, seconds: float, example: list[float] | None) -> Path:
    (directory / "code").mkdir(parents=True)
    (directory / "code" / "sleeper.py").write_text(SLEEPER.format(seconds=seconds))
    (directory / "model.pkl").write_bytes(b"csleeper\nModel\n(tR.")
    spec = ServingSpec(
        format="isolated",
        file="model.pkl",
        task="regressor",
        tensor=Tensor(name="x", dtype="float64", shape=[2]),
        source_digest="sha256:" + "0" * 64,
        example={"x": [example]} if example else None,
        isolated=IsolatedSpec(loader="pickle", code="code"),
    )
    return write_spec(directory, spec)


async def _serve(stack: AsyncExitStack, package: Path, number: int) -> StagedVersion:
    scratch = package.with_name(f"scorer-{number}")
    url = await stack.enter_async_context(staging_scorer(scratch, package, MODEL, number))
    client = ScorerClient(url, MODEL)
    await asyncio.to_thread(stack.enter_context, client)
    spec = ServingSpec.model_validate_json((package / SPEC_FILE).read_text())
    return StagedVersion(client, registered(number), spec)


async def checked(
    candidate: StagedVersion, champion: StagedVersion | None, time_limit: float = 300, **limit: Any
) -> Check:
    async def read(*_: Any) -> Any:
        raise NotImplementedError

    policy = StagingPolicy(latency=LatencyPolicy.model_validate(limit))
    context = StagingContext(
        policy=policy,
        candidate=candidate,
        champion=champion,
        read_holdout=read,
        recorded=recorded(),
        time_limit=time_limit,
    )
    return await LatencyCheck().run(context)


async def test_a_version_that_sleeps_fails_after_the_first_look_and_a_faster_one_passes(
    tmp_path: Path,
) -> None:
    """Limits so far from what is measured that a busy machine changes nothing."""
    async with sleepers(tmp_path, 0.0, 0.05) as (awake, asleep):
        slower = await checked(asleep, awake, at_most="1.2x champion")
        faster = await checked(awake, asleep, at_most="50x champion")
        by_time = await checked(asleep, awake, at_most="0.04s")

    assert (slower.verdict, "; 50 calls of each in turns" in slower.sentence) == ("failed", True)
    assert (faster.verdict, "; 100 calls of each in turns" in faster.sentence) == ("passed", True)
    assert (by_time.verdict, "; 50 calls," in by_time.sentence) == ("failed", True)


async def test_a_first_version_is_compared_with_a_time_only(tmp_path: Path) -> None:
    async with sleepers(tmp_path, 0.0) as (first,):
        told = await checked(first, None)
        limited = await checked(first, None, at_most="30s")

    assert (told.verdict, f"over {CALLS_ALONE} calls" in told.sentence) == ("skipped", True)
    assert limited.verdict == "passed"


async def test_the_time_ends_the_calls_without_a_verdict(tmp_path: Path) -> None:
    async with sleepers(tmp_path, 0.0, 0.2) as (champion, candidate):
        by_policy = await checked(candidate, champion, max_time="0.1s")
        by_setting = await checked(candidate, champion, time_limit=0.2)

    assert {by_policy.verdict, by_setting.verdict} == {"inconclusive"}
    assert "a max_time of staging.latency in loopwright.yaml above 0.1s" in by_policy.sentence
    assert "within 0.1s, half of LOOPWRIGHT_DEPLOYER_STAGE_SECONDS" in by_setting.sentence


async def test_refusals_are_not_timed(tmp_path: Path) -> None:
    async with sleepers(tmp_path, 0.0, 0.0, example=None) as (champion, candidate):
        check = await checked(candidate, champion)

    assert check.verdict == "inconclusive"
    assert "to the row that it was timed with" in check.sentence
    assert "input_example" in check.sentence
