"""Weighted arms from outside: sticky while a weight grows, and in proportion."""

from collections.abc import Awaitable, Callable
from itertools import pairwise
from math import sqrt

import pytest

from tests.scorer.harness import ROW, ScorerHarness
from tests.scorer.listening import Client, listening

KEYS = [f"customer {number}" for number in range(300)]
WEIGHTS = (0.05, 0.3, 0.7, 0.95)
STANDARD_DEVIATIONS = 4
Ask = Callable[[Client, str], Awaitable[int]]


async def by_header(client: Client, key: str) -> int:
    return version_of((await client.infer(ROW, f"loopwright-routing-key: {key}")).json())


async def by_input(client: Client, key: str) -> int:
    return version_of((await client.infer({**ROW, "job": [key]})).json())


async def by_both(client: Client, key: str) -> int:
    """The header goes before the input."""
    row = {**ROW, "job": ["clerk"]}
    return version_of((await client.infer(row, f"loopwright-routing-key: {key}")).json())


def version_of(answer: dict[str, str]) -> int:
    return int(answer["model_version"])


@pytest.mark.parametrize("ask", [by_header, by_input, by_both])
async def test_a_key_never_returns_while_the_weight_grows_and_shares_are_as_weighted(
    harness: ScorerHarness, ask: Ask
) -> None:
    moved: list[set[str]] = []
    async with harness.replica() as replica, listening(replica.service) as there:
        client = await there.connect()
        for revision, weight in enumerate(WEIGHTS, 1):
            champion = await harness.arm(1, "low", 1 - weight)
            canary = await harness.arm(2, "high", weight)
            await harness.route(revision, champion, canary, routing_key="job")
            await replica.serves(revision)
            moved.append({key for key in KEYS if await ask(client, key) == 2})

    for before, after in pairwise(moved):
        assert before <= after
    for weight, keys in zip(WEIGHTS, moved, strict=True):
        spread = sqrt(len(KEYS) * weight * (1 - weight))
        assert abs(len(keys) - len(KEYS) * weight) <= STANDARD_DEVIATIONS * spread
