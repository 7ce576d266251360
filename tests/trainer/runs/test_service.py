"""The end of a run is recorded and announced, whatever it has to say."""

from dataclasses import replace

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common import clock
from loopwright_common.database.database import Database
from loopwright_common.database.delivery_tables import outbox
from loopwright_common.events import TrainingFinished
from loopwright_trainer.main import MIGRATIONS
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import PipelineRun, RunStatus, StageRun, StageState, kept_text
from loopwright_trainer.runs.repository import PipelineRuns, StageRuns

UNKEPT = "\0 and \ud800 and " + "more " * 300_000
RUN = PipelineRun(
    id="r1",
    repository="toy",
    ref="refs/heads/main",
    reason="person",
    why="asked for",
    cause={"chain_id": "c", "event_ids": ["e"], "traceparent": ""},
    status=RunStatus.RUNNING,
    created_at=clock.now(),
)


@given(st.text(alphabet=st.characters(), max_size=20))
def test_a_kept_text_is_what_it_was_where_it_can_be(text: str) -> None:
    kept = kept_text(text)
    assert "\0" not in kept
    if kept != text:
        assert any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)
    kept.encode()
    longest = kept_text(text * 1000)
    assert kept_text(longest) == longest


async def test_an_end_is_recorded_whatever_it_says(database_url: str) -> None:
    database = await Database.open(database_url, "trainer", MIGRATIONS)
    async with database.unit_of_work() as uow:
        await PipelineRuns(uow.connection).insert(RUN)
        row = StageRun(run_id="r1", ordinal=0, name="fit", state=StageState.RUNNING, why=UNKEPT)
        await StageRuns(uow.connection).save(row)
        await service.finish_run(uow, RUN, service.RunOutcome(RunStatus.FAILED, UNKEPT))

    run, stage, told = await _recorded(database)
    assert (run.status, stage.state) == (RunStatus.FAILED, StageState.SKIPPED)
    assert (told.why, [each.name for each in told.stages]) == (run.why, ["fit"])
    assert run.why.startswith(r"\0 and \ud800 and more")
    assert len(run.why) < 5000
    await database.close()


async def test_a_run_is_given_up_without_a_look_at_what_hinders_its_end(database_url: str) -> None:
    database = await Database.open(database_url, "trainer", MIGRATIONS)
    garbled = replace(RUN, cause={"chain_id": None})
    async with database.unit_of_work() as uow:
        await PipelineRuns(uow.connection).insert(garbled)
        row = StageRun(run_id="r1", ordinal=0, name="fit", state=StageState.RUNNING)
        await StageRuns(uow.connection).save(row)
    async with database.unit_of_work() as uow:
        await service.give_run_up(uow, garbled, service.RunOutcome(RunStatus.FAILED, "too odd"))

    run, stage, told = await _recorded(database)
    assert (run.status, run.why, stage.state) == (RunStatus.FAILED, "too odd", StageState.SKIPPED)
    assert (told.status, told.why, told.stages) == ("failed", "too odd", [])
    await database.close()


async def _recorded(database: Database) -> tuple[PipelineRun, StageRun, TrainingFinished]:
    async with database.read() as connection:
        run = await PipelineRuns(connection).get("r1")
        (stage,) = await StageRuns(connection).of_run("r1")
        payload = (await connection.execute(sa.select(outbox.c.payload))).scalar_one()
    assert run is not None
    return run, stage, TrainingFinished.from_bytes(payload)
