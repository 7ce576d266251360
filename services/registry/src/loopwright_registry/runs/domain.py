"""A run, its measurements, and the rules for what may be logged."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from loopwright_common.errors import InvalidError
from loopwright_common.names import check_name
from loopwright_registry.mlflow.domain import ACTIVE, Metric, Params, Tags, check_key, check_length

RunStatus = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
UNDER_WAY: Sequence[RunStatus] = ("RUNNING", "SCHEDULED")
NAME_TAG = "mlflow.runName"
PIPELINE_RUN_TAG = "loopwright.pipeline_run"
LONGEST_TAG = 8000
LONGEST_PARAM = 6000

_ADJECTIVES = (
    "able",
    "bold",
    "calm",
    "eager",
    "fair",
    "gentle",
    "keen",
    "lively",
    "merry",
    "quiet",
)
_ANIMALS = ("auk", "bear", "crane", "dove", "elk", "finch", "hare", "lynx", "otter", "wren")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInput:
    """A dataset that a run read, as the client describes it."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """A logged model that a run made, and the step of the run at which it did."""

    model_id: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What identifies a run and where it stands; times are milliseconds since 1970."""

    run_id: str
    experiment_id: int
    name: str
    user_id: str
    status: str
    start_ms: int | None
    end_ms: int | None
    artifact_uri: str
    lifecycle_stage: str

    def require_active(self) -> None:
        """InvalidError for a deleted run."""
        if self.lifecycle_stage != ACTIVE:
            raise InvalidError(
                f"The run {self.run_id} must be in the 'active' state; it is {self.lifecycle_stage}"
            )


@dataclass(frozen=True, slots=True)
class RunAttempt:
    """The attempt that may write to a run; `sha256` is the hex digest of its token."""

    number: int
    sha256: str

    def admits(self, bearer: str | None) -> bool:
        return bearer is not None and secrets.compare_digest(token_digest(bearer), self.sha256)


def token_digest(bearer: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(bearer.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run with the latest point of each metric."""

    info: RunInfo
    metrics: Sequence[Metric] = ()
    params: Params = field(default_factory=dict)
    tags: Tags = field(default_factory=dict)
    datasets: Sequence[DatasetInput] = ()
    model_inputs: Sequence[str] = ()
    model_outputs: Sequence[ModelOutput] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatchData:
    """What one request logs, all or nothing."""

    metrics: Sequence[Metric] = ()
    params: Sequence[tuple[str, str]] = ()
    tags: Sequence[tuple[str, str]] = ()


def random_run_name() -> str:
    words = (secrets.choice(_ADJECTIVES), secrets.choice(_ANIMALS))
    return f"{words[0]}-{words[1]}-{secrets.randbelow(1000)}"


def checked_batch(batch: LogBatchData) -> LogBatchData:
    """The batch with tags cut to size; raises InvalidError for a bad key or too much at once."""
    for kind, limit, items in (
        ("metrics", 1000, batch.metrics),
        ("params", 100, batch.params),
        ("tags", 100, batch.tags),
    ):
        if len(items) > limit:
            raise InvalidError(f"A batch may have at most {limit} {kind}; got {len(items)}")
    if len(batch.metrics) + len(batch.params) + len(batch.tags) > 1000:
        raise InvalidError("A batch may have at most 1000 metrics, params and tags together")
    _check_keys("metric", (metric.key for metric in batch.metrics))
    _check_keys("param", (key for key, _ in batch.params))
    _check_keys("tag", (key for key, _ in batch.tags))
    for key, value in batch.tags:
        if key == NAME_TAG:
            check_name(NAME_TAG, value)
    for key, value in batch.params:
        check_length(f"param {key!r}", value, LONGEST_PARAM)
    tags = [(key, value[:LONGEST_TAG]) for key, value in batch.tags]
    return LogBatchData(metrics=batch.metrics, params=batch.params, tags=tags)


def check_params_kept(run_id: str, existing: Params, given: Iterable[tuple[str, str]]) -> None:
    """Raise InvalidError when a parameter would get a second value."""
    seen = dict(existing)
    for key, value in given:
        if seen.setdefault(key, value) != value:
            raise InvalidError(
                f"Changing param values is not allowed. Param with key='{key}' was already logged "
                f"with value='{seen[key]}' for run ID='{run_id}'. Attempted new value '{value}'."
            )


def _check_keys(kind: str, keys: Iterable[str]) -> None:
    for key in keys:
        check_key(kind, key)
