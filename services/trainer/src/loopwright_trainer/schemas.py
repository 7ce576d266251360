"""What the trainer's API takes and gives; the answers about kept results are in `cache`."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from loopwright_common.name_field import Name
from loopwright_common.sandbox import Level
from loopwright_trainer.runs.domain import (
    PipelineRun,
    Reason,
    Repository,
    RunStatus,
    StageRun,
    StageState,
)


class RepositoryIn(BaseModel):
    """A repository to watch: an absolute path or a URL that git may be given."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    url: str = Field(min_length=1, max_length=2000)
    branch: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,199}$")


class ChangeIn(BaseModel):
    """A commit of the watched branch; without one, its head."""

    model_config = ConfigDict(extra="forbid")
    commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")


class PipelineRunIn(BaseModel):
    """Name the pipeline or the repository."""

    model_config = ConfigDict(extra="forbid")
    pipeline: str | None = Field(default=None, max_length=100)
    repository: str | None = Field(default=None, max_length=100)
    by: Name = Field(default="a person", max_length=200)
    why: str | None = Field(default=None, max_length=1000)
    captured: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$")


class RetryIn(BaseModel):
    """Who asks for the same run again."""

    model_config = ConfigDict(extra="forbid")
    by: Name = Field(default="a person", min_length=1, max_length=200)


class RepositoryOut(BaseModel):
    """A watched repository; `problem` says why it could not be polled."""

    model_config = ConfigDict(from_attributes=True)
    name: str
    url: str
    branch: str
    head: str | None
    pipeline: str | None
    problem: str | None
    added_at: datetime

    @classmethod
    def of(cls, repository: Repository) -> "RepositoryOut":
        return cls.model_validate(repository)


class RepositoriesOut(BaseModel):
    items: list[RepositoryOut]
    next: str | None


class AnnouncementOut(BaseModel):
    """`announced` is False for a commit that was the known head already."""

    repository: str
    commit: str
    announced: bool


class PipelineRunOut(BaseModel):
    """A run; `why` says what started it and, once it has ended, how it ended."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    repository: str
    pipeline: str | None
    commit: str | None
    ref: str
    reason: Reason
    status: RunStatus
    why: str
    chain_id: str | None
    causes: tuple[str, ...]
    captured: str | None
    retry_of: str | None
    tracking_run_id: str | None
    model: str | None
    version: int | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, run: PipelineRun) -> "PipelineRunOut":
        return cls.model_validate(run)


class PipelineRunsOut(BaseModel):
    items: list[PipelineRunOut]
    next: str | None


class StageRunOut(BaseModel):
    """A check or a stage of a run; `outputs` are digests by path, `log_tail` is of one that failed.

    `log_tail` is left out of every other. `sandbox` is the level at which it ran.
    """

    name: str
    outcome: StageState
    why: str
    seconds: float
    attempts: int
    key: str | None
    metrics: dict[str, float]
    outputs: dict[str, str]
    sandbox: Level | None
    log_tail: str | None = None

    @classmethod
    def of(cls, row: StageRun) -> "StageRunOut":
        return cls(
            name=row.name,
            outcome=row.state,
            why=row.why,
            seconds=round(row.seconds, 3),
            attempts=row.attempts,
            key=row.key,
            metrics=dict(row.metrics),
            outputs={output.path: output.digest for output in row.outputs},
            sandbox=row.sandbox,
        )


class PipelineRunDetailOut(PipelineRunOut):
    stages: list[StageRunOut]
