"""The interface of a staging check, and what it may go by."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from loopwright_common.deploy_policy import StagingPolicy
from loopwright_common.events import Check, Dataset, ModelRegistered, Verdict
from loopwright_common.serving.spec import ServingSpec
from loopwright_deployer.staging.evaluation.holdout_rows import Holdout
from loopwright_deployer.staging.evaluation.scorer_client import ScorerClient


@dataclass(frozen=True, slots=True)
class StagedVersion:
    """A version that a staging scorer serves; `client` is blocking, for use in a thread."""

    client: ScorerClient
    registered: ModelRegistered
    spec: ServingSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingContext:
    """What a check may go by; `champion` is None where there is none to compare with.

    `read_holdout` gives the labelled rows of a dataset that are later than a time. It raises what
    the store raises, UnusableHoldoutError where there are none to measure by, and InvalidError
    where the file ends whatever reads it. `time_limit` is how many seconds all checks have.
    """

    policy: StagingPolicy
    candidate: StagedVersion
    champion: StagedVersion | None
    read_holdout: Callable[[Dataset, datetime | None], Awaitable[Holdout]]
    time_limit: float


class StagingCheck(Protocol):
    """One thing that is asked of a candidate before it may have traffic.

    A check is a class in a module of its own here and an entry of `registry.CHECKS`; what people
    may set about it is a field of `StagingPolicy`.
    """

    name: str
    """Under which its verdict is found among the checks of a deployment; unique."""

    async def run(self, staged: StagingContext) -> Check:
        """The verdict, with a sentence that gives the figures it rests on.

        `failed` rejects the version, `inconclusive` waits for a person. InvalidError,
        `httpx.HTTPError` and answers that make no sense (LookupError, ValueError, TypeError) are
        `failed`, with the reason; what is to be tried again later (UnavailableError,
        NotFoundError) ends the staging without a verdict.
        """
        ...


def verdict_of(name: str, verdict: Verdict, sentence: str) -> Check:
    """The check's outcome where there is no figure to compare with a limit."""
    return Check(name=name, verdict=verdict, sentence=sentence)
