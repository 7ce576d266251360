"""Registers what a run made as a version, unless nothing changed."""

import json
from collections.abc import Sequence

from loopwright_common import clock
from loopwright_common.database import Database
from loopwright_common.errors import InvalidError
from loopwright_common.sandbox import Level, weakest
from loopwright_trainer.execution.run_result import RunResult
from loopwright_trainer.execution.tracking_session import TrackingSession
from loopwright_trainer.pipelines.pipeline import Registration
from loopwright_trainer.runs.domain import Output, RunStatus
from loopwright_trainer.runs.repository import PipelineRuns
from loopwright_trainer.runs.service import RunOutcome
from loopwright_trainer.tracking import mlflow_registration

_UNREGISTERED = (
    "done, but nothing is registered: say in loopwright.yaml which `model:` it is and what to"
    " `register:`; the stages of a dvc.yaml beside it are taken"
)
_MOST_TOLD = 5


async def register(result: RunResult, session: TrackingSession, database: Database) -> RunOutcome:
    """Register what the run made, unless it follows from the same steps as the newest version.

    InvalidError where a path of `register:` names nothing that can be registered.
    """
    wanted = result.pipeline.register
    if wanted is None and result.pipeline.registers_only_package:
        packages = await result.packages()
        if len(packages) != 1:
            return RunOutcome(RunStatus.SUCCEEDED, _which_package(packages))
        wanted = Registration(package=packages[0])
    if wanted is None:
        return RunOutcome(RunStatus.SUCCEEDED, _UNREGISTERED)
    package = await result.artifact(wanted.package)
    if package.kind != "directory":
        raise InvalidError(
            f"register.package: {package.path} is a file; give the package's directory",
            field="register.package",
        )
    key = result.registration_key(package)
    async with database.read() as connection:
        newest = await PipelineRuns(connection).newest_registered(session.run.repository)
    if newest and newest.register_key == key:
        same = f"version {newest.version} of run {newest.id}"
        return RunOutcome(RunStatus.UNCHANGED, f"the package follows from the same steps as {same}")
    version = await _new_version(result, wanted, package, session)
    await session.update_run(register_key=key, model=result.pipeline.model, version=version)
    return RunOutcome(RunStatus.SUCCEEDED, f"registered {result.pipeline.model} version {version}")


def _which_package(packages: Sequence[str]) -> str:
    """Why nothing is registered where only a `dvc.yaml` says what is made."""
    if not packages:
        found = "no out of a stage holds an MLflow package, which is a directory with MLmodel"
    else:
        shown = ", ".join(packages[:_MOST_TOLD]) + (", ..." if len(packages) > _MOST_TOLD else "")
        found = f"the outs hold {len(packages)} MLflow packages: {shown}"
    return f"{_UNREGISTERED}. Without that file the only package is registered, and {found}"


async def _new_version(
    result: RunResult, wanted: Registration, package: Output, session: TrackingSession
) -> int:
    named = {"training": wanted.training, "holdout": wanted.holdout}
    datasets = {role: await result.artifact(path) for role, path in named.items() if path}
    resumed, opened = session.run.registering, await session.open()
    await session.update_run(registering=True)
    run = session.run
    candidate = mlflow_registration.VersionCandidate(
        run_id=run.id,
        commit=run.commit or "",
        pipeline=result.pipeline,
        package=package,
        datasets=datasets,
        metrics=result.metrics,
        started_at=run.started_at or clock.now(),
        cause=json.dumps(dict(run.cause)),
        sandbox=weakest(row.sandbox or Level.NONE for row in result.done),
    )
    return await mlflow_registration.register_version(
        candidate, session.tracking, opened, result.store, result.scratch, resumed=resumed
    )
