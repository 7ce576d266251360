"""Whoever asks for what, and whatever dies meanwhile: no gate is passed unearned.

Random journeys by a seed, judged after every step by an oracle with books of its own
(`tests/deployer/journeys`). More of them than the usual tests run, by the environment:
`LOOPWRIGHT_TEST_JOURNEY_STEPS=10000 LOOPWRIGHT_TEST_JOURNEY_SEEDS=1,2,3`. A failure names its seed
and tells the last steps; the same seed does the same again.
"""

import os
from typing import cast

import pytest

from loopwright_deployer.main import MIGRATIONS
from tests.deployer.journeys.driver import VERBS, Journeys, MortalDatabase

STEPS = int(os.environ.get("LOOPWRIGHT_TEST_JOURNEY_STEPS", "1500"))
SEEDS = [int(seed) for seed in os.environ.get("LOOPWRIGHT_TEST_JOURNEY_SEEDS", "1").split(",")]
ON_POSTGRES = 0.3
"""The share of the steps that PostgreSQL gets, which keeps the same promises and takes longer."""
EVENTS = {"register", "alias", "name"}
WORK = {"start", "package", "stage", "enter", "timer", "canary", "acknowledge"}


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_gate_is_passed_unearned(sqlite_url: str, seed: int) -> None:
    done = await travel(sqlite_url, seed, STEPS)

    assert done >= {*EVENTS, *WORK, *VERBS, "undo"}


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_gate_is_passed_unearned_on_postgresql(postgres_url: str, seed: int) -> None:
    done = await travel(postgres_url, seed, int(STEPS * ON_POSTGRES))

    assert done >= {*EVENTS, "stage", "enter", "canary", "acknowledge", "undo"}


async def travel(url: str, seed: int, steps: int) -> set[str]:
    """The kinds of acts that had an effect."""
    database = cast(MortalDatabase, await MortalDatabase.open(url, "deployer", MIGRATIONS))
    try:
        journeys = Journeys(database, seed)
        await journeys.run(steps)
    finally:
        await database.close()
    return set(journeys.done)
