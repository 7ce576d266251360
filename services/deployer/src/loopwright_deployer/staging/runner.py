"""The long work of a deployment: packaging in a subprocess, staging in a real scorer."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.events import Check, Dataset
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_common.storage.artifact_store import ArtifactStore
from loopwright_common.storage.package import fetch_package, store_package
from loopwright_deployer.deployments.domain import ServedPackage
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.settings import DeployerSettings
from loopwright_deployer.staging.checks import holdout as holdouts
from loopwright_deployer.staging.checks.holdout import Holdout
from loopwright_deployer.staging.checks.runner import Staged, StagedVersion, run_checks
from loopwright_deployer.staging.warm_processes import (
    PACKAGING,
    SCORER,
    TransientError,
    WarmProcessPool,
    kill,
    send_job,
    staging_scorer,
)


@dataclass(frozen=True, slots=True)
class PackagedVersion:
    """The serving package in the store, and one sentence on how it came about."""

    served: ServedPackage
    why: str


class StagingRunner:
    """Owns the scratch directory and the spare processes."""

    def __init__(self, settings: DeployerSettings, store: ArtifactStore) -> None:
        self._store = store
        self._scratch = (settings.work_dir / "scratch").resolve()
        self._settings = settings
        self._environments = (settings.work_dir / "environments").resolve()
        self._limit = settings.stage_seconds
        self.outage_limit = timedelta(seconds=settings.index_outage_seconds)
        self._spares = settings.spares
        self._packaging = WarmProcessPool(PACKAGING, settings.work_dir / "packaging.log")
        self._scorers = WarmProcessPool(SCORER, settings.work_dir / "staging.log")
        # One at a time: it bounds the memory, and nothing disturbs the latency check.
        self._at_packaging, self._at_staging = asyncio.Lock(), asyncio.Lock()

    def clean(self) -> None:
        """Remove what a killed process left behind."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def warm_up(self) -> None:
        """Have a spare of each waiting; call it when nothing else is going on."""
        wanted = 1 if self._spares else 0
        await self._scorers.resize(wanted)
        await self._packaging.resize(wanted)

    async def expect_staging(self, scorers: int) -> None:
        """Have the staging scorers do their imports while the version is packaged."""
        await self._scorers.resize(scorers)

    async def close(self) -> None:
        await self._scorers.resize(0)
        await self._packaging.resize(0)
        await asyncio.to_thread(self.clean)

    async def package(self, record: DeploymentRecord) -> PackagedVersion:
        """InvalidError or CorruptError when the version cannot be served, with the reason.

        PassingError while the Python packages that it needs cannot be had.
        """
        registered = record.registered
        async with self._at_packaging, self._directory() as directory:
            source, target = directory / "source", directory / "target"
            await fetch_package(self._store, registered.digest, source)
            rows = await self._parquet(
                holdouts.dataset_of(registered, "training"), directory / "training.parquet"
            )
            job = {
                "source": str(source),
                "target": str(target),
                "digest": registered.digest,
                "rows": str(rows) if rows else None,
                "grant": {
                    "model": registered.model,
                    "pickle": self._settings.may_pickle(registered.model),
                    "environments": str(self._environments),
                },
            }
            answer = await self._pack(job)
            digest = await store_package(self._store, target)
        return PackagedVersion(
            ServedPackage(registered.version, digest, answer["format"]), answer["why"]
        )

    async def stage(
        self, record: DeploymentRecord, champion: DeploymentRecord | None
    ) -> tuple[Check, ...]:
        """Serve the candidate, and the champion beside it, and ask them everything.

        Errors as of `package`.
        """
        async with self._at_staging, AsyncExitStack() as stack:
            directory = await stack.enter_async_context(self._directory())
            holdout = await self._holdout(record, champion, directory)
            candidate, other = await asyncio.gather(
                self._serve(record, directory / "candidate", stack),
                self._serve(champion, directory / "champion", stack) if champion else _nobody(),
            )
            assert candidate is not None  # noqa: S101  (it was asked for)
            staged = Staged(
                model=record.deployment.model,
                candidate=candidate,
                champion=other,
                policy=record.policy.staging,
                holdout=holdout,
            )
            async with asyncio.timeout(self._limit):
                checks = await asyncio.to_thread(run_checks, staged)
        return (_verified(record), *checks)

    async def report(self, record: DeploymentRecord, checks: tuple[Check, ...]) -> str:
        """Keep the report of staging; returns its digest."""
        deployment = record.deployment
        content = {
            "deployment": deployment.id,
            "model": deployment.model,
            "version": deployment.version,
            "package": record.registered.digest,
            "serving_package": deployment.served.digest if deployment.served else None,
            "packaging": deployment.why,
            "policy": record.policy.model_dump(mode="json"),
            "checks": [check.model_dump() for check in checks],
        }
        return (await self._store.put(json.dumps(content, indent=1).encode())).digest

    async def _pack(self, job: dict[str, Any]) -> dict[str, str]:
        process = await self._packaging.acquire()
        try:
            answer: dict[str, str] = await send_job(process, job, self._limit)
        except TransientError:
            raise
        except UnavailableError as error:
            words = self._packaging.stderr_tail()
            raise InvalidError(f"packaging failed: {error}; it said: {words}") from None
        finally:
            await kill(process)
        return answer

    async def _serve(
        self, record: DeploymentRecord, directory: Path, stack: AsyncExitStack
    ) -> StagedVersion | None:
        deployment = record.deployment
        assert deployment.served is not None  # noqa: S101  (packaging comes before staging)
        await fetch_package(self._store, deployment.served.digest, directory)
        content = await asyncio.to_thread((directory / SPEC_FILE).read_bytes)
        spec = ServingSpec.model_validate_json(content)
        url = await stack.enter_async_context(
            staging_scorer(
                self._scorers,
                directory,
                deployment.model,
                deployment.version,
                environments=self._environments,
            )
        )
        return StagedVersion(url, deployment.version, spec)

    async def _holdout(
        self, record: DeploymentRecord, champion: DeploymentRecord | None, directory: Path
    ) -> Holdout | Check:
        dataset = holdouts.dataset_of(record.registered, "holdout")
        if dataset is None:
            return holdouts.skipped("the version came without a holdout dataset")
        if champion and (why := holdouts.unfair(record.registered, champion.registered)):
            return holdouts.unclear(f"{why}, so no rows are known to be later than both trainings")
        parquet = await self._parquet(dataset, directory / "holdout.parquet")
        assert parquet is not None  # noqa: S101  (the dataset is there)
        both = (record.registered, champion.registered) if champion else ()
        later_than = holdouts.trained_until(*both)
        try:
            return await asyncio.to_thread(holdouts.read_holdout, parquet, dataset, later_than)
        except InvalidError as error:
            return holdouts.skipped(str(error))

    async def _parquet(self, dataset: Dataset | None, target: Path) -> Path | None:
        if dataset is None:
            return None
        await self._store.fetch(dataset.digest, target)
        return target

    @asynccontextmanager
    async def _directory(self) -> AsyncGenerator[Path, None]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        directory = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._scratch))
        try:
            yield directory
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, True)


async def _nobody() -> None:
    return None


def _verified(record: DeploymentRecord) -> Check:
    sentence = f"every file matches its digest; serving package: {record.deployment.why}"
    return Check(name="package", verdict="passed", sentence=sentence)
