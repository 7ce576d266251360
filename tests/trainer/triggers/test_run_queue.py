"""Which events start runs, and how waiting runs give way or join."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from loopwright_common import clock
from loopwright_common.database.database import Database
from loopwright_common.events import CodeChanged, Event, EventData, RetrainRequested
from loopwright_common.ids import new_id, new_traceparent
from loopwright_trainer.handlers import (
    TrainerHandlerContext,
    on_code_changed,
    on_retrain_requested,
)
from loopwright_trainer.main import MIGRATIONS
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import PipelineRun, RunStatus
from loopwright_trainer.runs.repository import PipelineRuns, Repositories
from loopwright_trainer.runs.run_lease import claim_next_run

A, B = "a" * 40, "b" * 40
NOBODY_WAKES = TrainerHandlerContext(wake_worker=lambda: None)


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database, None]:
    database = await Database.open(database_url, "trainer", MIGRATIONS)
    async with database.unit_of_work() as uow:
        await service.add_repository(uow, "toy", "/nowhere", "main")
        await Repositories(uow.connection).update("toy", pipeline="toy-pipeline", head=A)
    yield database
    await database.close()


def event(data: EventData) -> Event[Any]:
    identity = new_id()
    return Event(
        id=identity,
        source="outside",
        subject="",
        time=clock.now(),
        key="toy",
        chain_id=identity,
        causes=(),
        traceparent=new_traceparent(),
        data=data,
    )


async def change(database: Database, commit: str, **given: Any) -> Event[CodeChanged]:
    """Handle a `code-changed`."""
    fields = {"repository": "toy", "ref": "refs/heads/main", **given}
    changed = event(CodeChanged(commit=commit, **fields))
    async with database.unit_of_work() as uow:
        await on_code_changed(changed, uow, NOBODY_WAKES)
    return changed


async def request(database: Database, **given: Any) -> Event[RetrainRequested]:
    """Handle a `retrain-requested`."""
    fields = {"pipeline": "toy-pipeline", "reason": "drift", "requested_by": "monitor", **given}
    requested = event(RetrainRequested(**fields))
    async with database.unit_of_work() as uow:
        await on_retrain_requested(requested, uow, NOBODY_WAKES)
    return requested


async def runs(database: Database) -> list[PipelineRun]:
    """Oldest first."""
    async with database.read() as connection:
        return (await PipelineRuns(connection).page(None, 100, None, None))[::-1]


async def test_repositories_and_branches_that_nobody_watches_are_ignored(
    database: Database,
) -> None:
    await change(database, B, repository="stranger")
    await change(database, B, ref="refs/heads/feature")
    await request(database, pipeline="stranger")

    assert await runs(database) == []


async def test_a_newer_commit_supersedes_a_waiting_one_and_takes_its_paths(
    database: Database,
) -> None:
    await change(database, A, paths=["train.py"])
    await change(database, B, paths=["README.md"])

    old, new = await runs(database)
    assert (old.status, old.why) == (RunStatus.CANCELLED, f"superseded by commit {B[:7]}")
    assert (new.status, new.commit) == (RunStatus.QUEUED, B)
    assert new.paths == ("README.md", "train.py"), "else the first change would be lost"


async def test_requests_that_wait_are_one_run_with_all_causes(database: Database) -> None:
    first = await request(database)
    second = await request(database, reason="person")

    (run,) = await runs(database)
    assert run.cause["event_ids"] == [first.id, second.id]
    assert run.reason == "drift"


async def test_a_commit_joins_a_waiting_request_whatever_its_paths(database: Database) -> None:
    await request(database)
    await change(database, B, paths=["README.md"])

    (run,) = await runs(database)
    assert (run.reason, run.commit, run.paths) == ("drift", B, None)


async def test_a_run_takes_the_newest_head_and_captured_rows_at_its_start(
    database: Database,
) -> None:
    await request(database, captured="sha256:1")
    await request(database, captured="sha256:2")
    async with database.unit_of_work() as uow:
        claim = await claim_next_run(uow)
    assert claim is not None
    assert (claim.run.commit, claim.run.captured) == (A, "sha256:2")
    await change(database, B)
    async with database.unit_of_work() as uow:
        assert await claim_next_run(uow) is None, "one run of a repository at a time"
        await service.finish_run(uow, claim.run, service.RunOutcome(RunStatus.SUCCEEDED, "done"))
        following = await claim_next_run(uow)
    assert following is not None
    assert following.run.commit == B
    assert following.run.captured == "sha256:2", "what was learnt stays"


async def test_a_polled_commit_that_has_a_run_is_not_run_again(database: Database) -> None:
    await change(database, B, source="webhook")
    await change(database, B, source="poll")

    assert len(await runs(database)) == 1


async def test_a_commit_is_announced_once(database: Database) -> None:
    told = CodeChanged(repository="toy", ref="refs/heads/main", commit=B, before=A)
    async with database.unit_of_work() as uow:
        assert await service.announce_commit(uow, told)
        assert not await service.announce_commit(uow, told)


async def test_two_repositories_cannot_own_one_pipeline(database: Database) -> None:
    from loopwright_common.errors import ConflictError
    from loopwright_trainer.pipelines.pipeline import Pipeline

    await change(database, B)
    (run,) = await runs(database)
    other = Pipeline(name="toy-pipeline", model=None, stages=())
    async with database.unit_of_work() as uow:
        with pytest.raises(ConflictError, match="belongs to repository toy"):
            await service.record_pipeline(uow, replace(run, repository="other"), other)
