"""What the API takes and gives about kept results."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from loopwright_trainer.cache.explain import StageExplanation
from loopwright_trainer.cache.gc import Expired


class GarbageCollectionIn(BaseModel):
    """What to forget beside entries whose outputs are gone; `keep` counts per stage."""

    model_config = ConfigDict(extra="forbid")
    older_than_seconds: float | None = Field(default=None, ge=0, le=3e9)
    keep: int | None = Field(default=None, ge=0, le=1_000_000)
    dry_run: bool = False


class StepEntryOut(BaseModel):
    """A kept result."""

    model_config = ConfigDict(from_attributes=True)
    key: str
    stage: str
    repository: str
    run_id: str
    commit: str
    kept_at: datetime


class StageExplanationOut(BaseModel):
    """What a stage would do now; `parts` and `key` are null as long as nobody can know them."""

    name: str
    verdict: Literal["reused", "would run", "unknown"]
    why: str
    key: str | None
    parts: dict[str, Any] | None
    nearest: StepEntryOut | None
    differences: list[str]

    @classmethod
    def of(cls, stage: StageExplanation) -> "StageExplanationOut":
        nearest = stage.nearest
        return cls(
            name=stage.stage,
            verdict=stage.verdict,
            why=stage.why,
            key=stage.key,
            parts=stage.parts.to_json() if stage.parts else None,
            nearest=StepEntryOut.model_validate(nearest) if nearest else None,
            differences=stage.differences,
        )


class ExplainOut(BaseModel):
    """The stages of a pipeline at a commit, in the order in which they would go."""

    pipeline: str
    repository: str
    commit: str
    captured: str | None
    stages: list[StageExplanationOut]


class ExpiredOut(StepEntryOut):
    """A kept result that goes; `bytes` is what its outputs still hold in the store."""

    why: str
    bytes: int

    @classmethod
    def of(cls, expired: Expired) -> "ExpiredOut":
        entry = StepEntryOut.model_validate(expired.entry)
        return cls(**entry.model_dump(), why=expired.why, bytes=expired.size)


class GarbageCollectionOut(BaseModel):
    """What was forgotten, or with `dry_run` what would be; `left` says why files stay."""

    items: list[ExpiredOut]
    dry_run: bool
    bytes_freed: int
    bytes_left: int
    left: str
