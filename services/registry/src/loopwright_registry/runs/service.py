"""Use cases of runs; none commits.

What changes a run that exists is called by one that may write to it (`run_fencing.fenced_write`).
"""

from collections.abc import Sequence
from uuid import uuid4

from loopwright_common.database import UnitOfWork
from loopwright_common.errors import RefusedError
from loopwright_registry.experiments.repository import Experiments
from loopwright_registry.logged_models.repository import LoggedModels
from loopwright_registry.mlflow.domain import Tags
from loopwright_registry.runs.domain import (
    NAME_TAG,
    PIPELINE_RUN_TAG,
    DatasetInput,
    LogBatchData,
    ModelOutput,
    Run,
    RunInfo,
    check_params_kept,
    checked_batch,
    random_run_name,
)
from loopwright_registry.runs.repository import Runs
from loopwright_registry.runs.run_data_repository import RunData


async def create_run(
    uow: UnitOfWork, experiment_id: int, user_id: str, start_ms: int | None, tags: Tags
) -> Run:
    """Create a running run; its name is the tag `mlflow.runName`, invented where there is none.

    `start_ms` is in milliseconds since 1970. NotFoundError without the experiment, InvalidError
    for a deleted one or a tag over MLflow's limits.
    """
    await uow.lock(f"experiment/{experiment_id}")
    experiment = await Experiments(uow.connection).get(experiment_id)
    experiment.require_active()
    run_id = uuid4().hex
    named = {**tags, NAME_TAG: tags.get(NAME_TAG) or random_run_name()}
    runs = Runs(uow.connection)
    await runs.insert(
        RunInfo(
            run_id=run_id,
            experiment_id=experiment_id,
            name=named[NAME_TAG],
            user_id=user_id,
            status="RUNNING",
            start_ms=start_ms,
            end_ms=None,
            artifact_uri=f"{experiment.artifact_location}/{run_id}/artifacts",
            lifecycle_stage="active",
        )
    )
    await RunData(uow.connection).set_tags(
        run_id, checked_batch(LogBatchData(tags=list(named.items()))).tags
    )
    return await runs.get(run_id)


async def log_batch(uow: UnitOfWork, run_id: str, batch: LogBatchData) -> None:
    """Write a batch, all or nothing and repeatable.

    The same point, parameter or tag twice is one row. NotFoundError without the run, InvalidError
    for a deleted run, a value over MLflow's limits or a parameter that has another value,
    RefusedError for the tag that says whose run it is.
    """
    batch = checked_batch(batch)
    await _require_active(uow, run_id)
    data = RunData(uow.connection)
    if batch.params:
        check_params_kept(run_id, await data.params(run_id), batch.params)
    for key, value in batch.tags:
        if key == PIPELINE_RUN_TAG and await data.tag(run_id, key) != value:
            raise _tag_stays()
    await data.log(run_id, batch)
    await LoggedModels(uow.connection).log_metrics(batch.metrics)


async def log_inputs(
    uow: UnitOfWork, run_id: str, datasets: Sequence[DatasetInput], models: Sequence[str]
) -> None:
    """NotFoundError without the run, InvalidError for a deleted one."""
    await _require_active(uow, run_id)
    await RunData(uow.connection).log_inputs(run_id, datasets, models)


async def log_outputs(uow: UnitOfWork, run_id: str, outputs: Sequence[ModelOutput]) -> None:
    """NotFoundError without the run, InvalidError for a deleted one."""
    await _require_active(uow, run_id)
    await RunData(uow.connection).log_outputs(run_id, outputs)


async def update_run(
    uow: UnitOfWork, run_id: str, status: str | None, end_ms: int | None, name: str | None
) -> RunInfo:
    """Change what is given; NotFoundError without the run, InvalidError for a deleted one."""
    runs = Runs(uow.connection)
    (await runs.info(run_id)).require_active()
    changes = {"status": status, "end_ms": end_ms}
    if given := {key: value for key, value in changes.items() if value is not None}:
        await runs.update(run_id, **given)
    if name:
        await RunData(uow.connection).set_tags(run_id, [(NAME_TAG, name)])
    return await runs.info(run_id)


async def move_run(uow: UnitOfWork, run_id: str, stage: str) -> None:
    """Delete or restore; NotFoundError without the run."""
    runs = Runs(uow.connection)
    await runs.info(run_id)
    await runs.update(run_id, lifecycle_stage=stage)


async def delete_tag(uow: UnitOfWork, run_id: str, key: str) -> None:
    """NotFoundError without the run or the tag, InvalidError for a deleted run.

    RefusedError for the tag that says whose run it is.
    """
    await _require_active(uow, run_id)
    if key == PIPELINE_RUN_TAG:
        raise _tag_stays()
    await RunData(uow.connection).delete_tag(run_id, key)


def _tag_stays() -> RefusedError:
    return RefusedError(
        f"{PIPELINE_RUN_TAG} says which pipeline run a run is of, by which its versions are held: "
        "it is given when the run is made, and stays"
    )


async def _require_active(uow: UnitOfWork, run_id: str) -> None:
    (await Runs(uow.connection).info(run_id)).require_active()
