"""The interface of a staging check, and what it may go by."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from loopwright_common.deploy_policy import StagingPolicy
from loopwright_common.events import Check, Dataset, ModelRegistered, Verdict
from loopwright_common.serving.spec import ServingSpec
from loopwright_deployer.deployments.margin import Margin
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout, Training
from loopwright_deployer.staging.evaluation.recorded_calls import InputTypes, RecordedCalls
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient


@dataclass(frozen=True, slots=True)
class StagedVersion:
    """A version that a staging scorer serves; `client` is blocking, for use in a thread."""

    client: ScorerClient
    registered: ModelRegistered
    spec: ServingSpec


@dataclass(frozen=True, slots=True)
class RecordedTraffic:
    """Recorded calls of the model, to be read with the inputs named.

    `margin` is what a version may refuse or fail at beside the champion. `redacted` inputs are
    shown to nobody, also where they were recorded before somebody said so.
    """

    read: Callable[[InputTypes], Awaitable[RecordedCalls]]
    margin: Margin
    redacted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingContext:
    """What a check may go by; `champion` is None where there is none to compare with.

    `read_holdout` gives the labelled rows of a dataset that are in none of the trainings, and later
    than them where that is asked for. It raises what the store raises, UnusableHoldoutError where
    there are none to measure by, and InvalidError where the file ends whatever reads it.
    `recorded` is what callers asked of the model. `time_limit` is how many seconds all checks have,
    `found` the verdicts so far, `details` what checks add to the report of staging, by name.
    """

    policy: StagingPolicy
    candidate: StagedVersion
    champion: StagedVersion | None
    read_holdout: Callable[[Dataset, Sequence[Training], bool], Awaitable[Holdout]]
    recorded: RecordedTraffic
    time_limit: float
    found: list[Check] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


class StagingCheck(Protocol):
    """One thing that is asked of a candidate before it may have traffic.

    A check is a class in a module of its own here and an entry of `registry.CHECKS`; what people
    may set about it is a field of `StagingPolicy`.
    """

    @property
    def name(self) -> str:
        """Under which its verdict is found among the checks of a deployment; unique."""
        ...

    async def run(self, staged: StagingContext) -> Check:
        """The verdict, with a sentence that gives the figures it rests on.

        `failed` rejects the version, `inconclusive` waits for a person. Of our checks InvalidError,
        `httpx.HTTPError` and answers that make no sense (LookupError, ValueError, TypeError) are
        `failed`, with the reason; what is to be tried again later (UnavailableError,
        NotFoundError) ends the staging without a verdict.
        """
        ...


def verdict_of(name: str, verdict: Verdict, sentence: str) -> Check:
    """The check's outcome where there is no figure to compare with a limit."""
    return Check(name=name, verdict=verdict, sentence=sentence)
