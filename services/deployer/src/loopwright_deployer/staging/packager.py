"""From a registered package in the store to a serving package there, in confined processes."""

import asyncio
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loopwright_common.events import Dataset
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_common.storage import ArtifactStore, fetch_package, store_package
from loopwright_deployer.deployments.domain import ServedPackage
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.packaging.isolated import Grant, described_spec
from loopwright_deployer.packaging.verification import verified_spec
from loopwright_deployer.staging.checks.holdout import dataset_of
from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.confined_process import ConfinedProcess, require_plain_files
from loopwright_deployer.staging.environment_lease import EnvironmentDirectory, leased_environment
from loopwright_deployer.staging.warm_processes import DESCRIBE, WarmProcessPool


@dataclass(frozen=True, slots=True)
class PackagedVersion:
    """The serving package in the store, and one sentence on how it came about."""

    served: ServedPackage
    why: str


class Packager:
    """Packages one version at a time, which bounds the memory."""

    def __init__(
        self, store: ArtifactStore, pool: WarmProcessPool, command: ConfinedCommand, limit: float
    ) -> None:
        """`command` is that of the pool, `limit` the seconds that a package may take."""
        self._store = store
        self._pool = pool
        self._command = command
        self._limit = limit
        self._busy = asyncio.Lock()

    async def package(
        self, record: DeploymentRecord, grant: Grant, environments: EnvironmentDirectory
    ) -> PackagedVersion:
        """InvalidError or CorruptError when the version cannot be served, with the reason.

        TransientError while the Python packages that it needs cannot be had.
        """
        registered = record.registered
        async with self._busy, self._pool.process() as process:
            source, target = process.directory / "source", process.directory / "target"
            await fetch_package(self._store, registered.digest, source)
            training = dataset_of(registered, "training")
            rows = await fetch_rows(self._store, process.directory, training) if training else None
            job = {
                "source": str(source),
                "target": str(target),
                "digest": registered.digest,
                "rows": str(rows) if rows else None,
                "grant": {"model": grant.model, "pickle": grant.pickle},
            }
            answer = await process.ask(job, self._limit)
            await process.stop()
            await asyncio.to_thread(require_plain_files, target)
            spec = await asyncio.to_thread(verified_spec, target, registered.digest, grant)
            why = str(answer["why"])
            if spec.isolated is not None:
                why = await self._describe(spec, target, environments)
            digest = await store_package(self._store, target)
        return PackagedVersion(ServedPackage(registered.version, digest, spec.format), why)

    async def _describe(
        self, draft: ServingSpec, target: Path, environments: EnvironmentDirectory
    ) -> str:
        """Have the package opened as it will be, and complete its spec with what it says."""
        assert draft.isolated is not None  # noqa: S101  (the caller has looked)
        async with AsyncExitStack() as stack:
            environment = await stack.enter_async_context(
                leased_environment(draft.isolated, environments, self._command)
            )
            process = await ConfinedProcess.start(
                replace(self._command, arguments=DESCRIBE, readable=environment.paths)
            )
            stack.push_async_callback(process.close)
            package = process.directory / "package"
            await asyncio.to_thread(shutil.copytree, target, package)
            order = {"package": str(package), "python": str(environment.python)}
            answer: dict[str, Any] = await process.ask(order, self._limit)
        spec = described_spec(draft, answer, own=environment.is_own)
        content = spec.model_dump_json(exclude_none=True)
        await asyncio.to_thread((target / SPEC_FILE).write_text, content)
        return str(spec.parity)


async def fetch_rows(store: ArtifactStore, directory: Path, dataset: Dataset) -> Path:
    """A dataset's Parquet file in `directory`."""
    target = directory / f"{dataset.digest.removeprefix('sha256:')}.parquet"
    await store.fetch(dataset.digest, target)
    return target
