"""Repositories, runs and their stages: the words and rules of the trainer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from loopwright_common.sandbox import Level

Reason = Literal["code", "drift", "schedule", "person", "labels"]
EndStatus = Literal["succeeded", "failed", "cancelled", "unchanged"]
Outcome = Literal["reused", "ran", "failed", "skipped"]
_MAX_CAUSES = 16
_LONGEST_KEPT = 4000


class RunStatus(StrEnum):
    """`skipped` is a change that the pipeline's triggers do not ask to run; it is not announced."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"


class StageState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    REUSED = "reused"
    RAN = "ran"
    FAILED = "failed"
    SKIPPED = "skipped"


DONE = frozenset({StageState.REUSED, StageState.RAN})
UNFINISHED = "stopped with its run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A registered repository.

    `head` is the newest commit of the watched branch that was announced; `pipeline`, `branches`
    are learnt from the pipeline file; `captured` is the newest manifest heard of.
    """

    name: str
    url: str
    branch: str
    head: str | None = None
    pipeline: str | None = None
    branches: tuple[str, ...] | None = None
    captured: str | None = None
    problem: str | None = None
    added_at: datetime

    def watches(self, ref: str) -> bool:
        return ref in {f"refs/heads/{branch}" for branch in self.branches or (self.branch,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRun:
    """One execution of a repository's pipeline.

    `commit` None means the head at the start. `paths` are the changed paths, None when unknown.
    `cause` is `unit_of_work.Cause` as JSON. A retry (`retry_of` names the run) keeps its commit
    and its captured rows, and waits on its own. `attempts` counts the trainers that had it,
    `deaths` those of them that died.
    """

    id: str
    repository: str
    pipeline: str | None = None
    commit: str | None = None
    ref: str
    paths: tuple[str, ...] | None = None
    reason: Reason
    status: RunStatus = RunStatus.QUEUED
    why: str
    cause: Mapping[str, Any]
    captured: str | None = None
    retry_of: str | None = None
    attempts: int = 0
    deaths: int = 0
    registering: bool = False
    register_key: str | None = None
    tracking_run_id: str | None = None
    model: str | None = None
    version: int | None = None
    cancel_requested: bool = False
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def chain_id(self) -> str | None:
        """The chain of events that led to this run."""
        chain: str | None = self.cause.get("chain_id")
        return chain

    @property
    def causes(self) -> tuple[str, ...]:
        """Ids of the events that this run answers."""
        return tuple(self.cause.get("event_ids", ()))

    @property
    def ended(self) -> bool:
        return self.status not in (RunStatus.QUEUED, RunStatus.RUNNING)

    def joined_by(self, other: "PipelineRun") -> "PipelineRun":
        """This queued run, taking on what `other` asks for, so that one run answers both.

        A request weighs more than a change: it runs whatever the changed paths are.
        """
        requested = self.reason != "code"
        return replace(
            self,
            commit=other.commit or self.commit,
            paths=joined_paths(self.paths, other.paths),
            reason=self.reason if requested else other.reason,
            why=f"{self.why}; also {other.why}",
            cause=joined_causes(self.cause, other.cause),
        )


def kept_text(text: str) -> str:
    """The text as any database and event takes it: no halves of characters, and not too long."""
    kept = text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
    return kept if len(kept) <= _LONGEST_KEPT else f"{kept[: _LONGEST_KEPT - 3]}..."


def joined_paths(
    first: Sequence[str] | None, second: Sequence[str] | None
) -> tuple[str, ...] | None:
    """All changed paths of two changes; unknown as soon as one is unknown."""
    if first is None or second is None:
        return None
    return tuple(sorted({*first, *second}))


def joined_causes(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    ids = dict.fromkeys([*first["event_ids"], *second["event_ids"]])
    return {**first, "event_ids": list(ids)[:_MAX_CAUSES]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file or a folder that a stage wrote, kept in the store; a folder as a manifest."""

    path: str
    kind: Literal["file", "directory"]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """One stage of one run; `host`, `pid` and `pid_started` (Unix time) name its process.

    `sandbox` is the level that it ran at, or that what it reuses came from.
    `logs` are the digests of what its attempts printed, by their number.
    """

    run_id: str
    ordinal: int
    name: str
    state: StageState = StageState.PENDING
    why: str = ""
    key: str | None = None
    reusable: bool = True
    outputs: tuple[Output, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    attempts: int = 0
    logs: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    sandbox: Level | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEntry:
    """A kept result: what it follows from (`parts` as JSON) and what came out."""

    key: str
    stage: str
    repository: str
    run_id: str
    commit: str
    parts: Mapping[str, Any]
    outputs: tuple[Output, ...]
    metrics: Mapping[str, float]
    seconds: float
    kept_at: datetime
    sandbox: Level | None = None
