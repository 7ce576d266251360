"""Staging checks of packages that are installed beside the deployer."""

import json
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points

import structlog

from loopwright_common.errors import InvalidError, NotFoundError, UnavailableError, described
from loopwright_common.events import Check
from loopwright_deployer.staging.checks.base import StagingCheck, StagingContext, verdict_of
from loopwright_deployer.staging.checks.registry import CHECKS

GROUP = "loopwright.staging_checks"
log = structlog.get_logger()
_TRIED_AGAIN = (UnavailableError, NotFoundError)
"""What ends a staging without a verdict, whoever raises it."""
_OF_WEBHOOKS = "webhook-"


def installed_checks() -> tuple[StagingCheck, ...]:
    """A check of each entry point of the group `loopwright.staging_checks`, by its name.

    InvalidError for one that cannot be loaded or is no check, and for a name that is taken: what
    somebody relies on is not left out in silence.
    """
    checks: list[StagingCheck] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        if entry.name in {"package", *(check.name for check in (*CHECKS, *checks))}:
            raise _unusable(entry, "there is another check of that name")
        if entry.name.startswith(_OF_WEBHOOKS):
            raise _unusable(entry, f"names that begin with {_OF_WEBHOOKS} are those of webhooks")
        checks.append(_InstalledCheck(entry.name, _load(entry)))
    return tuple(checks)


@dataclass(frozen=True, slots=True)
class _InstalledCheck:
    """One that is not ours: whatever it raises or returns, there is a verdict under its name."""

    name: str
    check: StagingCheck

    async def run(self, staged: StagingContext) -> Check:
        own = replace(staged, details={})
        try:
            found = await self.check.run(own)
            details = json.loads(json.dumps(own.details, allow_nan=False))
        except _TRIED_AGAIN:
            raise
        except Exception as error:
            log.exception("staging.check-broke", check=self.name)
            sentence = f"the check broke: {described(error)}"
            return verdict_of(self.name, "inconclusive", sentence)
        if not isinstance(found, Check):
            sentence = f"the check gave {type(found).__name__} instead of a verdict"
            return verdict_of(self.name, "inconclusive", sentence)
        if details:
            staged.details[self.name] = details
        return found.model_copy(update={"name": self.name})


def _load(entry: EntryPoint) -> StagingCheck:
    try:
        check = entry.load()()
    except Exception as error:
        raise _unusable(entry, described(error)) from error
    if not callable(getattr(check, "run", None)):
        raise _unusable(entry, "it has no method `run`")
    return check  # type: ignore[no-any-return]


def _unusable(entry: EntryPoint, why: str) -> InvalidError:
    package = entry.dist.name if entry.dist else "a package"
    return InvalidError(
        f"the staging check {entry.name} ({entry.value}) of {package} cannot be used: {why}; mend"
        f" the entry point in the group {GROUP}, or uninstall the package",
        field=GROUP,
    )
