"""The long work of a deployment: packaging in a subprocess, staging in a real scorer."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.events import Check, Dataset
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_common.storage import ArtifactStore, fetch_package, store_package
from loopwright_deployer.deployments.domain import ServedPackage
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.staging.checks.base import StagedVersion, StagingCheck, StagingContext
from loopwright_deployer.staging.checks.holdout import dataset_of
from loopwright_deployer.staging.checks.registry import CHECKS
from loopwright_deployer.staging.checks.runner import run_checks
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingOptions:
    """What an administrator sets of packaging and staging.

    `time_limit` is how many seconds packaging, and how many the checks, may take;
    `may_unpickle` says of a model's name whether its pickles may be opened.
    """

    work_dir: Path
    warm_processes: bool
    time_limit: float
    outage_limit: timedelta
    may_unpickle: Callable[[str], bool]


class StagingRunner:
    """Packages and stages versions, one at a time each, in processes that it owns."""

    def __init__(
        self,
        options: StagingOptions,
        store: ArtifactStore,
        checks: Sequence[StagingCheck] = CHECKS,
    ) -> None:
        self._store = store
        self._checks = checks
        self._options = options
        self._scratch = (options.work_dir / "scratch").resolve()
        self._environments = (options.work_dir / "environments").resolve()
        self._packaging = WarmProcessPool(PACKAGING, options.work_dir / "packaging.log")
        self._scorers = WarmProcessPool(SCORER, options.work_dir / "staging.log")
        # One at a time: it bounds the memory, and nothing disturbs the latency check.
        self._at_packaging, self._at_staging = asyncio.Lock(), asyncio.Lock()

    @property
    def outage_limit(self) -> timedelta:
        """How long what a version needs may be away before the version is rejected."""
        return self._options.outage_limit

    def clean(self) -> None:
        """Remove what a killed process left behind."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def warm_up(self) -> None:
        """Have a warm process of each kind waiting; call it when nothing else is going on."""
        wanted = 1 if self._options.warm_processes else 0
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
            training = dataset_of(registered, "training")
            rows = await self._fetch(directory, training) if training else None
            job = {
                "source": str(source),
                "target": str(target),
                "digest": registered.digest,
                "rows": str(rows) if rows else None,
                "grant": {
                    "model": registered.model,
                    "pickle": self._options.may_unpickle(registered.model),
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
        """The verdicts on the candidate in a real scorer, with the champion in one beside it.

        CorruptError where a package is not as sealed, UnavailableError while the artifact store is
        away, InvalidError where what is declared of the version cannot be checked.
        """
        async with self._at_staging, AsyncExitStack() as stack:
            directory = await stack.enter_async_context(self._directory())
            candidate, other = await asyncio.gather(
                self._serve(record, directory / "candidate", stack),
                self._serve(champion, directory / "champion", stack) if champion else _nobody(),
            )
            assert candidate is not None  # noqa: S101  (it was asked for)
            staged = StagingContext(
                policy=record.policy.staging,
                candidate=candidate,
                champion=other,
                fetch=partial(self._fetch, directory),
            )
            async with asyncio.timeout(self._options.time_limit):
                checks = await run_checks(staged, self._checks)
        return (_package_check(record), *checks)

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
            answer: dict[str, str] = await send_job(process, job, self._options.time_limit)
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
        client = ScorerClient(url, deployment.model)
        return StagedVersion(client, record.registered, spec)

    async def _fetch(self, directory: Path, dataset: Dataset) -> Path:
        target = directory / f"{dataset.digest.removeprefix('sha256:')}.parquet"
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


def _package_check(record: DeploymentRecord) -> Check:
    sentence = f"every file matches its digest; serving package: {record.deployment.why}"
    return Check(name="package", verdict="passed", sentence=sentence)
