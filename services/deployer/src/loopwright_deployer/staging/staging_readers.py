"""What staging has opened for it: serving packages by scorers, holdout rows by a reader."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from loopwright_common.errors import CorruptError, InvalidError, NotFoundError
from loopwright_common.events import Dataset
from loopwright_common.files.removal import remove_tree
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_common.storage import ArtifactStore, fetch_package
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.staging.checks.base import StagedVersion
from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.confined_process import ConfinedProcess, require_plain_files
from loopwright_deployer.staging.environment_lease import EnvironmentDirectory, leased_environment
from loopwright_deployer.staging.evaluation.holdout_rows import (
    Holdout,
    Training,
    UnusableHoldoutError,
)
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient
from loopwright_deployer.staging.packager import fetch_rows
from loopwright_deployer.staging.warm_processes import HOLDOUT_READER, WarmProcessPool

_OPENING_SECONDS = 60.0
_READING_SECONDS = 120.0
_MOST_ROWS_BYTES = 256 << 20


class StagingReaders:
    """Each package in a confined process of its own, and so a holdout with what it is fair to."""

    def __init__(
        self,
        store: ArtifactStore,
        pool: WarmProcessPool,
        command: ConfinedCommand,
        environments: EnvironmentDirectory,
    ) -> None:
        """`command` is that of the pool of scorers."""
        self._store = store
        self._pool = pool
        self._command = command
        self._environments = environments

    async def serve(self, record: DeploymentRecord, stack: AsyncExitStack) -> StagedVersion:
        """The version's serving package in a scorer of its own, for as long as the stack.

        InvalidError where it ends the scorer, TransientError while its environment cannot be had.
        """
        deployment = record.deployment
        assert deployment.served is not None  # noqa: S101  (packaging comes before staging)
        fetched = self._command.new_directory()
        stack.callback(remove_tree, fetched)
        await fetch_package(self._store, deployment.served.digest, fetched)
        content = await asyncio.to_thread((fetched / SPEC_FILE).read_bytes)
        spec = ServingSpec.model_validate_json(content)
        process, order = await self._scorer(spec, stack)
        await asyncio.to_thread(fetched.rename, process.directory / "package")
        order |= {"package": str(process.directory / "package")}
        order |= {"model": deployment.model, "version": deployment.version}
        await process.ask(order, _OPENING_SECONDS)
        return StagedVersion(ScorerClient(process.url, deployment.model), record.registered, spec)

    async def read_holdout(
        self, dataset: Dataset, trainings: Sequence[Training], by_time: bool
    ) -> Holdout:
        """A dataset's rows that are in none of the trainings, as plain JSON of a process.

        A damaged file may end that process. Where it is one of the trainings the rows are read
        without looking them up, and `untold` says why. UnusableHoldoutError where there is nothing
        to measure by, InvalidError where the dataset ends its reader.
        """
        try:
            return await self._read(dataset, trainings, by_time)
        except UnusableHoldoutError:
            raise
        except InvalidError as error:
            if not trainings:
                raise
            return await self._read(dataset, trainings, by_time, without=str(error))

    async def _read(
        self, dataset: Dataset, trainings: Sequence[Training], by_time: bool, without: str = ""
    ) -> Holdout:
        process = await ConfinedProcess.start(
            replace(self._command, arguments=HOLDOUT_READER, listens=False)
        )
        try:
            file = await fetch_rows(self._store, process.directory, dataset)
            result = process.directory / "result.json"
            job = {
                "file": str(file),
                "dataset": dataset.model_dump(mode="json"),
                "trainings": [
                    await self._training(process.directory, one, without) for one in trainings
                ],
                "by_time": by_time,
                "result": str(result),
            }
            answer = await process.ask(job, _READING_SECONDS)
            if "unusable" in answer:
                raise UnusableHoldoutError(str(answer["unusable"]))
            await process.stop()
            return await asyncio.to_thread(_read_rows, process.directory, result)
        finally:
            await process.close()

    async def _training(self, directory: Path, training: Training, why: str) -> dict[str, Any]:
        """What the reader is told of it; the file is left out where there is a reason `why`."""
        file = None
        if not why:
            try:
                file = str(await fetch_rows(self._store, directory, training.dataset))
            except (NotFoundError, CorruptError) as error:
                why = f"its training dataset cannot be had: {error}"
        return {
            "version": training.version,
            "dataset": training.dataset.model_dump(mode="json"),
            "inputs": training.inputs,
            "file": file,
            "why": why,
        }

    async def _scorer(
        self, spec: ServingSpec, stack: AsyncExitStack
    ) -> tuple[ConfinedProcess, dict[str, Any]]:
        """A scorer, and what its order says of the Python that the package runs on."""
        if spec.isolated is None:
            return await stack.enter_async_context(self._pool.process()), {}
        environment = await stack.enter_async_context(
            leased_environment(spec.isolated, self._environments, self._command)
        )
        order = {"python": str(environment.python)}
        if not environment.is_own:
            return await stack.enter_async_context(self._pool.process()), order
        process = await ConfinedProcess.start(replace(self._command, readable=environment.paths))
        stack.push_async_callback(process.close)
        return process, order


def _read_rows(directory: Path, result: Path) -> Holdout:
    require_plain_files(directory)
    if result.stat().st_size > _MOST_ROWS_BYTES:
        raise InvalidError(f"the holdout rows take more than {_MOST_ROWS_BYTES} bytes as JSON")
    content = json.loads(result.read_bytes())
    later_than = content["later_than"]
    return Holdout(
        columns=content["columns"],
        target=str(content["target"]),
        rows=int(content["rows"]),
        later_than=datetime.fromisoformat(later_than) if later_than else None,
        learned={int(version): int(count) for version, count in content["learned"].items()},
        untold={int(version): str(why) for version, why in content["untold"].items()},
    )
