"""What staging has opened for it: serving packages by scorers, holdout rows by a reader."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_common.events import Dataset
from loopwright_common.files.removal import remove_tree
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_common.storage import ArtifactStore, fetch_package
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.staging.checks.base import StagedVersion
from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.confined_process import ConfinedProcess, require_plain_files
from loopwright_deployer.staging.environment_lease import EnvironmentDirectory, leased_environment
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout, UnusableHoldoutError
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient
from loopwright_deployer.staging.packager import fetch_rows
from loopwright_deployer.staging.warm_processes import HOLDOUT_READER, WarmProcessPool

_OPENING_SECONDS = 60.0
_READING_SECONDS = 120.0
_MOST_ROWS_BYTES = 256 << 20


class StagingReaders:
    """Each package and each dataset in a confined process of its own."""

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

    async def read_holdout(self, dataset: Dataset, later_than: datetime | None) -> Holdout:
        """A dataset's rows, as plain JSON of a process that a damaged file may end.

        UnusableHoldoutError where it has none to measure by, InvalidError where it ends its reader.
        """
        process = await ConfinedProcess.start(
            replace(self._command, arguments=HOLDOUT_READER, listens=False)
        )
        try:
            file = await fetch_rows(self._store, process.directory, dataset)
            result = process.directory / "result.json"
            job = {
                "file": str(file),
                "dataset": dataset.model_dump(mode="json"),
                "later_than": later_than.isoformat() if later_than else None,
                "result": str(result),
            }
            answer = await process.ask(job, _READING_SECONDS)
            if "unusable" in answer:
                raise UnusableHoldoutError(str(answer["unusable"]))
            await process.stop()
            return await asyncio.to_thread(_read_rows, process.directory, result)
        finally:
            await process.close()

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
    return Holdout(content["columns"], str(content["target"]), int(content["rows"]))
