"""What two replicas decide at the same moment is decided once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from loopwright_common.database import leases
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import outbox
from loopwright_common.database.leases import LeaseLostError
from loopwright_common.database.unit_of_work import UnitOfWork
from loopwright_common.errors import ConflictError, LoopwrightError, UnavailableError
from loopwright_common.events import CodeChanged
from loopwright_trainer.git.mirror import Mirrors
from loopwright_trainer.git.remotes import GitAccess
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import PipelineRun, RunStatus
from loopwright_trainer.runs.repository import PipelineRuns
from loopwright_trainer.runs.run_lease import RunLease, claim_next_run
from loopwright_trainer.triggers import run_queue
from loopwright_trainer.triggers.repository_poller import RepositoryPoller
from tests.trainer.harness import Upstream
from tests.trainer.triggers.test_run_queue import A, B, change, database, request, runs

__all__ = ["database"]
AT_ONCE = 8


async def at_once(
    database: Database, use_case: Callable[[UnitOfWork], Awaitable[Any]]
) -> list[Any]:
    """What the use case gives, or how it is refused, in transactions that overlap."""

    async def one() -> Any:
        while True:
            try:
                async with database.unit_of_work() as uow:
                    return await use_case(uow)
            except UnavailableError:
                continue  # As its callers do: on a busy machine a lock may take too long.
            except LoopwrightError as error:
                return error

    return await asyncio.gather(*(one() for _ in range(AT_ONCE)))


async def emitted(database: Database, topic: str) -> int:
    async with database.read() as connection:
        count = sa.select(sa.func.count()).where(outbox.c.aggregatetype == topic)
        return int(await connection.scalar(count) or 0)


async def test_changes_and_requests_at_once_leave_one_waiting_run(database: Database) -> None:
    commits = [f"{number:040x}" for number in range(AT_ONCE)]
    await asyncio.gather(
        *(change(database, commit) for commit in commits), *(request(database) for _ in commits)
    )

    statuses = [run.status for run in await runs(database)]
    assert statuses.count(RunStatus.QUEUED) == 1
    assert set(statuses) <= {RunStatus.QUEUED, RunStatus.CANCELLED}


async def test_trainers_that_look_at_once_take_different_runs(database: Database) -> None:
    for number in range(3):
        async with database.unit_of_work() as uow:
            await service.add_repository(uow, f"other-{number}", "/nowhere", "main")
        await change(database, B, repository=f"other-{number}")
    claims = [claim for claim in await at_once(database, claim_next_run) if claim]

    assert len(claims) == len({claim.run.id for claim in claims}) == 3


async def test_a_run_whose_trainer_is_alive_is_left_alone(database: Database) -> None:
    await change(database, B)
    async with database.unit_of_work() as uow:
        assert await claim_next_run(uow)

    assert await at_once(database, claim_next_run) == [None] * AT_ONCE


async def test_a_trainer_whose_run_was_taken_over_writes_nothing(database: Database) -> None:
    await change(database, B)
    moment = timedelta(milliseconds=1)
    async with database.unit_of_work() as uow:
        late = await claim_next_run(uow, moment)
    async with database.unit_of_work() as uow:
        current = await claim_next_run(uow, moment)
    assert late
    assert current
    with pytest.raises(LeaseLostError):
        async with RunLease(database, late.lease, moment).transaction() as uow:
            await service.finish_run(uow, late.run, service.RunOutcome(RunStatus.FAILED, "late"))
    async with RunLease(database, current.lease, moment).transaction():
        pass

    (run,) = await runs(database)
    assert (run.status, run.attempts) == (RunStatus.RUNNING, 2)
    assert await emitted(database, "training-finished") == 0


async def test_a_run_that_ended_while_another_trainer_looked_is_not_taken_over(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await change(database, B)
    async with database.unit_of_work() as uow:
        claim = await claim_next_run(uow)
    assert claim

    async def listed_before(_: PipelineRuns) -> list[PipelineRun]:
        return [claim.run]

    async with RunLease(database, claim.lease, timedelta(seconds=10)).transaction() as uow:
        await service.finish_run(uow, claim.run, service.RunOutcome(RunStatus.FAILED, "done"))
        await leases.release(uow, claim.lease)
    monkeypatch.setattr(PipelineRuns, "running", listed_before)

    assert await at_once(database, claim_next_run) == [None] * AT_ONCE
    (run,) = await runs(database)
    assert (run.status, run.attempts) == (RunStatus.FAILED, 1)


async def test_a_commit_that_many_announce_at_once_is_said_once(database: Database) -> None:
    told = CodeChanged(repository="toy", ref="refs/heads/main", commit=B, before=A)
    said = await at_once(database, lambda uow: service.announce_commit(uow, told))

    assert sorted(said) == [False] * (AT_ONCE - 1) + [True]
    assert await emitted(database, "code-changed") == 1


async def test_a_replica_that_looked_too_early_does_not_take_the_head_back(
    database: Database,
) -> None:
    newer = CodeChanged(repository="toy", ref="refs/heads/main", commit=B, before=A)
    stale = CodeChanged(repository="toy", ref="refs/heads/main", commit="c" * 40, before="d" * 40)
    async with database.unit_of_work() as uow:
        await service.announce_commit(uow, newer)
        with pytest.raises(ConflictError, match="changed meanwhile"):
            await service.announce_commit(uow, stale)

    assert await emitted(database, "code-changed") == 1


async def test_two_replicas_that_poll_say_each_commit_once(
    database: Database, upstream: Upstream, tmp_path: Path
) -> None:
    async with database.unit_of_work() as uow:
        await service.add_repository(uow, "real", str(upstream.path), "main")
        await service.remove_repository(uow, "toy")
    replicas = [
        RepositoryPoller(database, Mirrors(tmp_path / name, GitAccess([tmp_path])), 3600)
        for name in ("one", "two")
    ]
    for number in range(3):
        upstream.commit({"README.md": str(number)})
        await asyncio.gather(*(replica.poll_once() for replica in replicas))

    assert await emitted(database, "code-changed") == 3


async def test_a_waiting_run_is_either_cancelled_or_started(database: Database) -> None:
    await change(database, B)
    (run,) = await runs(database)

    async def cancel(uow: UnitOfWork) -> Any:
        return await service.request_cancellation(uow, run.id)

    cancelled, claims = await asyncio.gather(
        at_once(database, cancel), at_once(database, claim_next_run)
    )
    (after,) = await runs(database)
    claimed = any(claims)
    assert (after.status is RunStatus.RUNNING) == claimed
    assert claimed or any(not isinstance(each, LoopwrightError) for each in cancelled)
    assert await emitted(database, "training-finished") == (0 if claimed else 1)


async def test_an_ended_run_is_retried_once_at_a_time(database: Database) -> None:
    await request(database, captured="sha256:1")
    async with database.unit_of_work() as uow:
        claim = await claim_next_run(uow)
        assert claim
        await service.finish_run(uow, claim.run, service.RunOutcome(RunStatus.FAILED, "bad luck"))
    await request(database, captured="sha256:2")
    answers = await at_once(database, lambda uow: run_queue.retry_run(uow, claim.run.id, "ada"))

    (again,) = [answer for answer in answers if not isinstance(answer, LoopwrightError)]
    assert (again.commit, again.captured) == (A, "sha256:1"), "neither the newest head nor rows"
    assert again.why == f"retry of run {claim.run.id} by ada"
    assert again.cause["chain_id"] == claim.run.cause["chain_id"]
    async with database.read() as connection:
        waiting = await PipelineRuns(connection).queued("toy")
    assert len(waiting) == 2, "a retry does not join what waits"


async def test_a_run_that_has_not_ended_is_not_retried(database: Database) -> None:
    await change(database, B)
    (run,) = await runs(database)
    async with database.unit_of_work() as uow:
        with pytest.raises(ConflictError, match="is queued; only a run that has ended"):
            await run_queue.retry_run(uow, run.id, "ada")
