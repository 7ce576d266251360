"""What the monitor's API answers."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from loopwright_monitor.captures.performance import Performance
from loopwright_monitor.captures.repository import CaptureFile, PinnedManifest
from loopwright_monitor.detectors.betting import GROUPS
from loopwright_monitor.detectors.evidence import FeatureEvidence
from loopwright_monitor.drift.comparison import ReferenceComparison
from loopwright_monitor.episodes.decision_repository import RecordedDecision
from loopwright_monitor.episodes.repository import Episode
from loopwright_monitor.watched.repository import WatchedModel
from loopwright_monitor.watched.version_repository import WatchedVersion


class ProfileOut(BaseModel):
    """A version's reference profile, made of `rows` rows, or why there is none yet."""

    digest: str | None
    state: str
    why: str
    source: str | None = None
    rows: int | None = None
    features: int | None = None
    notes: list[str] = []

    @classmethod
    def of(cls, version: WatchedVersion, watched: ReferenceComparison | None) -> "ProfileOut":
        out = cls(digest=version.profile, state=version.profile_state, why=version.profile_why)
        if watched is None:
            return out
        profile = watched.profile
        return out.model_copy(
            update={
                "source": profile.source,
                "rows": profile.rows,
                "features": len(profile.features),
                "notes": list(profile.notes),
            }
        )


class EvidenceOut(BaseModel):
    """Natural log of a feature's e-value now; an alarm comes at `alarm_at` over all together.

    `before` and `after` are shares of rows of what is said in `sentence`.
    """

    feature: str
    group: str
    evidence: float
    before: float
    after: float
    sentence: str

    @classmethod
    def of(cls, group: str, evidence: FeatureEvidence) -> "EvidenceOut":
        return cls(
            feature=evidence.name,
            group=group,
            evidence=evidence.evidence,
            before=evidence.before,
            after=evidence.after,
            sentence=evidence.sentence,
        )

    @classmethod
    def all(cls, watched: ReferenceComparison | None) -> "list[EvidenceOut]":
        if watched is None or watched.process is None:
            return []
        process = watched.process
        return [cls.of(group, evidence) for group in GROUPS for evidence in process.evidence(group)]


class PerformanceOut(BaseModel):
    """Means over a version's `labelled` rows: `log_loss` in nats, Brier score, label and score.

    None where the task has none, or no label has come.
    """

    version: int
    labelled: int
    log_loss: float | None
    brier: float | None
    mean_label: float | None
    mean_score: float | None

    @classmethod
    def of(cls, version: int, now: Performance) -> "PerformanceOut":
        return cls(
            version=version,
            labelled=now.labelled,
            log_loss=now.log_loss,
            brier=now.brier,
            mean_label=now.mean(now.label_sum),
            mean_score=now.mean(now.score_sum),
        )


class GapsOut(BaseModel):
    """Logged rows that never came: batches missing by their numbers, rows the scorers dropped.

    `unknown_tails` are runs of a scorer that ended without an end mark: what it had not sent yet
    is lost, at most its buffer, and nobody knows how much that was.
    """

    missed_batches: int
    dropped_rows: int
    unknown_tails: int
    note: str | None

    @classmethod
    def of(cls, model: WatchedModel) -> "GapsOut":
        return cls(
            missed_batches=model.missed,
            dropped_rows=model.dropped,
            unknown_tails=model.unknown_tails,
            note=model.gaps,
        )


class EpisodeOut(BaseModel):
    """Drift of one kind, from its alarm until it is closed.

    `event` is the id of the event behind it; rows are counted over the model's life.
    """

    id: str
    model: str
    version: int
    kind: str
    opened_at: datetime
    event: str
    since_row: int
    since_time: datetime | None
    rows_seen: int
    asks: int
    features: list[dict[str, Any]]
    closed_at: datetime | None
    closed_why: str | None

    @classmethod
    def of(cls, episode: Episode) -> "EpisodeOut":
        return cls(
            id=episode.id,
            model=episode.model,
            version=episode.version,
            kind=episode.kind,
            opened_at=episode.opened_at,
            event=episode.cause.event_ids[0],
            since_row=episode.since_row,
            since_time=episode.since_time,
            rows_seen=episode.rows_seen,
            asks=episode.asks,
            features=episode.features,
            closed_at=episode.closed_at,
            closed_why=episode.closed_why,
        )


class WatchedModelOut(BaseModel):
    """A model's rows, what is held against its champion, and the episodes that are open."""

    model_id: str
    model: str
    champion: int | None
    rows_seen: int
    captured: int
    labelled: int
    gaps: GapsOut
    profile: ProfileOut | None
    alarm_at: float | None
    evidence: list[EvidenceOut]
    performance: list[PerformanceOut]
    episodes: list[EpisodeOut]


class ModelNames(BaseModel):
    """The names of the models that are watched; there is one page."""

    items: list[str]
    next: str | None = None


class EpisodePage(BaseModel):
    """A page of episodes, newest first; `next` is the `after` of the following page."""

    items: list[EpisodeOut]
    next: str | None = None


class DecisionOut(BaseModel):
    """What was decided of an episode, and why."""

    model: str
    episode: str
    at: datetime
    verdict: str
    reason: str
    sentence: str

    @classmethod
    def of(cls, decided: RecordedDecision) -> "DecisionOut":
        return cls(
            model=decided.model,
            episode=decided.episode,
            at=decided.at,
            verdict=decided.verdict,
            reason=decided.reason,
            sentence=decided.sentence,
        )


class DecisionPage(BaseModel):
    """A page of decisions, newest first; `next` is the `after` of the following page."""

    items: list[DecisionOut]
    next: str | None = None


class ManifestOut(BaseModel):
    """Captured rows under one digest, pinned for ever; `labelled` of them have a label."""

    digest: str
    rows: int
    labelled: int
    at: datetime

    @classmethod
    def of(cls, pinned: PinnedManifest) -> "ManifestOut":
        return cls(digest=pinned.digest, rows=pinned.rows, labelled=pinned.labelled, at=pinned.at)


class CaptureFileOut(BaseModel):
    """A file of captured rows, and the times of its first and last."""

    digest: str
    rows: int
    first: datetime
    last: datetime
    source: str

    @classmethod
    def of(cls, file: CaptureFile) -> "CaptureFileOut":
        return cls(
            digest=file.digest,
            rows=file.rows,
            first=file.first,
            last=file.last,
            source=file.source,
        )


class CapturedOut(BaseModel):
    """All that is captured of a model: its rows, its files and the newest manifest."""

    model: str
    rows: int
    labelled: int
    newest: ManifestOut | None
    files: list[CaptureFileOut]
