"""Repositories as people have them come from a first commit to a later champion by themselves.

One running system for all; `python -m benchmarks.journeys` says how long each takes.
"""

import asyncio
from pathlib import Path

import httpx
import pytest
from benchmarks.journeys.journey import Journey
from benchmarks.journeys.repositories import REPOSITORIES
from benchmarks.project import commit

from loopwright.demo import system

pytestmark = [pytest.mark.e2e, pytest.mark.crash, pytest.mark.timeout(1800)]
_IMPATIENT = """model: only-dvc-yaml
register: {package: work/model}
deploy: {canary: {max_time: 3s}}
"""


async def test_every_natural_repository_is_promoted_unattended_under_a_trickle(
    tmp_path: Path,
) -> None:
    async with system.running(tmp_path) as running, httpx.AsyncClient(timeout=240) as http:
        journeys = [
            Journey(http, running.urls, repository, tmp_path / repository.name)
            for repository in REPOSITORIES
        ]
        for journey in journeys:
            await journey.first()
        await asyncio.gather(*(_edited_under_a_trickle(journey) for journey in journeys))

        await _without_calls_it_pauses_and_says_what_to_do(journeys[-1])


async def _edited_under_a_trickle(journey: Journey) -> None:
    async with journey.called(rate=5) as callers:
        await journey.later(2, callers)
    ended = await journey.ended(2)
    assert ended["champion"]
    assert [step["by"] for step in ended["steps"] if step["by"]] == []
    assert "paused" not in [step["state"] for step in ended["steps"]]
    assert callers.failed == []
    assert set(callers.answered) == {"1", "2"}


async def _without_calls_it_pauses_and_says_what_to_do(journey: Journey) -> None:
    """The repository with only a `dvc.yaml` gets a `loopwright.yaml`, and nobody calls."""
    (journey.directory / "loopwright.yaml").write_text(_IMPATIENT)
    parameters = journey.directory / "params.yaml"
    parameters.write_text(parameters.read_text().replace(journey.repository.edit, "c: 0.9"))
    commit(journey.directory, "Wait for nobody")

    ended = await journey.ended(3)

    assert ended["state"] == "paused"
    assert ended["why"] == (
        "inconclusive: no request has come to the new version at 10% of the traffic; only calls"
        " tell, so resume it while callers ask the model; the champion serves all until a person"
        " decides"
    )
