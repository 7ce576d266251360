"""The long work of a deployment: packaging, and staging in a real scorer, in confined processes."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from loopwright_common.bus import TableReader
from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.egress.rules import EgressRules
from loopwright_common.events import Check, RowsCaptured
from loopwright_common.files.removal import remove_tree
from loopwright_common.sandbox import Level, Sandbox
from loopwright_common.storage import ArtifactStore
from loopwright_deployer.deployments.margin import Margin
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.packaging.isolated import Grant
from loopwright_deployer.staging.captured_rows import CapturedRows
from loopwright_deployer.staging.checks.base import (
    RecordedTraffic,
    StagingCheck,
    StagingContext,
    verdict_of,
)
from loopwright_deployer.staging.checks.registry import CHECKS
from loopwright_deployer.staging.checks.runner import run_checks
from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.environment_lease import EnvironmentDirectory
from loopwright_deployer.staging.own_checks.webhook import WebhookCheck
from loopwright_deployer.staging.packager import PackagedVersion, Packager
from loopwright_deployer.staging.staging_readers import StagingReaders
from loopwright_deployer.staging.warm_processes import PACKAGING, SCORER, WarmProcessPool


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingOptions:
    """What an administrator sets of packaging and staging.

    `time_limit` is how many seconds packaging, and how many the checks, may take, `memory` how
    many bytes each process; `may_unpickle` says of a model's name whether its pickles may be
    opened, `index_access` what uv may reach, `webhook_rules` what webhooks may.
    """

    work_dir: Path
    warm_processes: bool
    time_limit: float
    outage_limit: timedelta
    may_unpickle: Callable[[str], bool]
    sandbox: Sandbox
    memory: int
    index_access: IndexAccess = field(default_factory=IndexAccess)
    webhook_rules: EgressRules = field(default_factory=EgressRules)


@dataclass(frozen=True, slots=True)
class StagingResult:
    """The verdicts, and by the name of a check what else it found."""

    checks: tuple[Check, ...]
    details: Mapping[str, Any]


class StagingRunner:
    """Packages and stages versions, one at a time each, in processes that it owns."""

    def __init__(
        self,
        options: StagingOptions,
        store: ArtifactStore,
        captured: TableReader[RowsCaptured],
        checks: Sequence[StagingCheck] = CHECKS,
    ) -> None:
        """`captured` is run by the caller."""
        self._store = store
        self._checks = checks
        self._options = options
        self._scratch = (options.work_dir / "scratch").resolve()
        directory = (options.work_dir / "environments").resolve()
        self._environments = EnvironmentDirectory(directory, options.index_access)
        packaging = self._command(PACKAGING, "packaging.log")
        staging = self._command(SCORER, "staging.log")
        scorers = replace(staging, listens=True)
        self._packaging = WarmProcessPool(packaging)
        self._scorers = WarmProcessPool(scorers)
        self._packager = Packager(store, self._packaging, packaging, options.time_limit)
        self._captured = CapturedRows(store, captured, staging)
        self._readers = StagingReaders(store, self._scorers, scorers, self._environments)
        # One at a time: it bounds the memory, and nothing disturbs the latency check.
        self._at_staging = asyncio.Lock()

    @property
    def outage_limit(self) -> timedelta:
        """How long what a version needs may be away before the version is rejected."""
        return self._options.outage_limit

    @property
    def level(self) -> Level:
        """How far what is packaged and staged is kept from everything else."""
        return self._options.sandbox.level

    def clean(self) -> None:
        """Remove what a killed process left behind."""
        remove_tree(self._scratch)

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

        TransientError while the Python packages that it needs cannot be had.
        """
        model = record.registered.model
        grant = Grant(model, self._options.may_unpickle(model))
        return await self._packager.package(record, grant, self._environments)

    async def stage(
        self, record: DeploymentRecord, champion: DeploymentRecord | None
    ) -> StagingResult:
        """The verdicts on the candidate in a real scorer, with the champion in one beside it.

        CorruptError where a package is not as sealed, UnavailableError while the artifact store is
        away, InvalidError where what is declared of the version cannot be checked.
        """
        async with self._at_staging, AsyncExitStack() as stack:
            candidate, other = await asyncio.gather(
                self._readers.serve(record, stack),
                self._readers.serve(champion, stack) if champion else _nobody(),
            )
            assert candidate is not None  # noqa: S101  (it was asked for)
            staged = StagingContext(
                policy=record.policy.staging,
                candidate=candidate,
                champion=other,
                read_holdout=self._readers.read_holdout,
                recorded=self._recorded_traffic(record, champion),
                time_limit=self._options.time_limit,
            )
            webhooks = self._webhooks(record)
            try:
                async with asyncio.timeout(self._options.time_limit):
                    await run_checks(staged, self._checks, webhooks)
            except TimeoutError:
                staged.found.append(_out_of_time(staged, (*self._checks, *webhooks)))
        return StagingResult((_package_check(record), *staged.found), staged.details)

    async def report(self, record: DeploymentRecord, result: StagingResult) -> str:
        """Keep the report of staging; returns its digest."""
        deployment = record.deployment
        content = {
            "deployment": deployment.id,
            "model": deployment.model,
            "version": deployment.version,
            "package": record.registered.digest,
            "serving_package": deployment.served.digest if deployment.served else None,
            "packaging": deployment.why,
            "sandbox": self.level,
            "policy": record.policy.model_dump(mode="json"),
            "checks": [check.model_dump() for check in result.checks],
            "details": result.details,
        }
        return (await self._store.put(json.dumps(content, indent=1).encode())).digest

    def _webhooks(self, record: DeploymentRecord) -> Sequence[StagingCheck]:
        rules, deployment = self._options.webhook_rules, record.deployment.id
        webhooks = record.policy.staging.webhooks
        return [WebhookCheck(webhook, rules, deployment) for webhook in webhooks]

    def _recorded_traffic(
        self, record: DeploymentRecord, champion: DeploymentRecord | None
    ) -> RecordedTraffic:
        policies = [each.policy for each in (record, champion) if each]
        return RecordedTraffic(
            partial(self._captured.read, record.registered.model_id),
            Margin.of(record.policy.canary),
            frozenset(name for policy in policies for name in policy.record.redact),
        )

    def _command(self, arguments: Sequence[str], log: str) -> ConfinedCommand:
        options = self._options
        return ConfinedCommand(
            arguments, options.sandbox, self._scratch, options.work_dir / log, options.memory
        )


async def _nobody() -> None:
    return None


def _out_of_time(staged: StagingContext, checks: Sequence[StagingCheck]) -> Check:
    """The verdict of the check that was going on; those after it were not run."""
    done = {check.name for check in staged.found}
    going_on, *left = [check.name for check in checks if check.name not in done]
    others = f", and {', '.join(left)} not run" if left else ""
    sentence = (
        f"not done when the {staged.time_limit:g} s of all checks were over{others}; a retry begins"
        " anew, LOOPWRIGHT_DEPLOYER_STAGE_SECONDS gives more time"
    )
    return verdict_of(going_on, "inconclusive", sentence)


def _package_check(record: DeploymentRecord) -> Check:
    sentence = f"every file matches its digest; serving package: {record.deployment.why}"
    return Check(name="package", verdict="passed", sentence=sentence)
