"""`/v1`: what is watched, what was found, what was decided and what is captured."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from loopwright_common.artifacts import ArtifactStore
from loopwright_common.database import Database
from loopwright_common.errors import NotFoundError
from loopwright_common.web import PROBLEMS
from loopwright_monitor.captures import pinning
from loopwright_monitor.captures.repository import Captures, Manifests, Performances, Pinned
from loopwright_monitor.drift import service as drift
from loopwright_monitor.drift.detector import GROUPS
from loopwright_monitor.drift.repository import Model, Models, Versions
from loopwright_monitor.retraining.repository import Decided, Decisions, Episode, Episodes

ModelName = Annotated[str, Path(min_length=1, max_length=255)]
ModelFilter = Annotated[str | None, Query(max_length=255)]
Cursor = Annotated[int | None, Query(ge=1, le=2**62)]
Limit = Annotated[int, Query(ge=1, le=500)]


class ProfileOut(BaseModel):
    digest: str | None
    state: str
    why: str
    source: str | None = None
    rows: int | None = None
    features: int | None = None
    notes: list[str] = []


class EvidenceOut(BaseModel):
    """Natural log of the e-value now; an alarm comes at `alarm_at` over all features together."""

    feature: str
    group: str
    evidence: float
    before: float
    after: float
    sentence: str


class PerformanceOut(BaseModel):
    version: int
    labelled: int
    log_loss: float | None
    brier: float | None
    mean_label: float | None
    mean_score: float | None


class EpisodeOut(BaseModel):
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


class ModelOut(BaseModel):
    model_id: str
    model: str
    champion: int | None
    rows_seen: int
    captured: int
    labelled: int
    profile: ProfileOut | None
    alarm_at: float | None
    evidence: list[EvidenceOut]
    performance: list[PerformanceOut]
    episodes: list[EpisodeOut]


class ModelNames(BaseModel):
    items: list[str]
    next: str | None = None


class EpisodePage(BaseModel):
    items: list[EpisodeOut]
    next: str | None = None


class DecisionOut(BaseModel):
    model: str
    episode: str
    at: datetime
    verdict: str
    reason: str
    sentence: str

    @classmethod
    def of(cls, decided: Decided) -> "DecisionOut":
        return cls(
            model=decided.model,
            episode=decided.episode,
            at=decided.at,
            verdict=decided.verdict,
            reason=decided.reason,
            sentence=decided.sentence,
        )


class DecisionPage(BaseModel):
    items: list[DecisionOut]
    next: str | None = None


class ManifestOut(BaseModel):
    digest: str
    rows: int
    labelled: int
    at: datetime

    @classmethod
    def of(cls, pinned: Pinned) -> "ManifestOut":
        return cls(digest=pinned.digest, rows=pinned.rows, labelled=pinned.labelled, at=pinned.at)


class FileOut(BaseModel):
    digest: str
    rows: int
    first: datetime
    last: datetime
    source: str


class CapturedOut(BaseModel):
    model: str
    rows: int
    labelled: int
    newest: ManifestOut | None
    files: list[FileOut]


def router_for(database: Database, store: ArtifactStore) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=PROBLEMS)

    @router.get("/models", tags=["drift"])
    async def list_models() -> ModelNames:
        async with database.read() as connection:
            return ModelNames(items=await Models(connection).names())

    @router.get("/models/{model}", tags=["drift"])
    async def show_model(model: ModelName) -> ModelOut:
        return await _model_out(database, await _named(database, model))

    @router.get("/episodes", tags=["drift"])
    async def list_episodes(
        model: ModelFilter = None, cursor: Cursor = None, limit: Limit = 100
    ) -> EpisodePage:
        """Newest first."""
        async with database.read() as connection:
            found = await Episodes(connection).page(model, cursor, limit)
        further = str(found[-1].position) if len(found) == limit else None
        return EpisodePage(items=[EpisodeOut.of(each) for each in found], next=further)

    @router.get("/decisions", tags=["retraining"])
    async def list_decisions(
        model: ModelFilter = None, cursor: Cursor = None, limit: Limit = 100
    ) -> DecisionPage:
        """Newest first: asked, waits, told only, closed, or a person is needed."""
        async with database.read() as connection:
            found = await Decisions(connection).page(model, cursor, limit)
        further = str(found[-1].position) if len(found) == limit else None
        return DecisionPage(items=[DecisionOut.of(each) for each in found], next=further)

    @router.get("/captured/{model}", tags=["captured"])
    async def show_captured(model: ModelName) -> CapturedOut:
        known = await _named(database, model)
        async with database.read() as connection:
            files = await Captures(connection, known.model_id).all()
            newest = await Manifests(connection, known.model_id).newest()
        return CapturedOut(
            model=known.model,
            rows=known.captured,
            labelled=known.labelled,
            newest=ManifestOut.of(newest) if newest else None,
            files=[
                FileOut(digest=f.digest, rows=f.rows, first=f.first, last=f.last, source=f.source)
                for f in files
            ],
        )

    @router.post("/captured/{model}/manifest", tags=["captured"], status_code=201)
    async def pin_captured(model: ModelName) -> ManifestOut:
        """Pin what is captured by now; the digest means these rows and labels for ever."""
        known = await _named(database, model)
        plan = await pinning.prepare(database, store, known.model_id, trained=False)
        async with database.unit_of_work() as uow:
            await pinning.settle(uow, plan)
        return ManifestOut.of(plan.pinned)

    return router


async def _named(database: Database, model: str) -> Model:
    async with database.read() as connection:
        found = await Models(connection).named(model)
    if found is None:
        raise NotFoundError(f"no model {model!r} is known to the monitor")
    return found


async def _model_out(database: Database, model: Model) -> ModelOut:
    async with database.read() as connection:
        version = (
            await Versions(connection).get(model.model_id, model.champion)
            if model.champion is not None
            else None
        )
        watched = await drift.watched(connection, version) if version else None
        performances = await Performances(connection, model.model_id).all()
        unclosed = await Episodes(connection).unclosed(model.model_id)
    profile = watched.profile if watched else None
    return ModelOut(
        model_id=model.model_id,
        model=model.model,
        champion=model.champion,
        rows_seen=model.rows,
        captured=model.captured,
        labelled=model.labelled,
        profile=ProfileOut(
            digest=version.profile,
            state=version.profile_state,
            why=version.profile_why,
            source=profile.source if profile else None,
            rows=profile.rows if profile else None,
            features=len(profile.features) if profile else None,
            notes=list(profile.notes) if profile else [],
        )
        if version
        else None,
        alarm_at=watched.detector.bets.log_threshold if watched and watched.detector else None,
        evidence=_evidence(watched),
        performance=[
            PerformanceOut(
                version=number,
                labelled=now.labelled,
                log_loss=now.log_loss,
                brier=now.brier,
                mean_label=now.mean(now.label_sum),
                mean_score=now.mean(now.score_sum),
            )
            for number, now in performances.items()
        ],
        episodes=[EpisodeOut.of(episode) for episode in unclosed],
    )


def _evidence(watched: drift.Watched | None) -> list[EvidenceOut]:
    if watched is None or watched.detector is None:
        return []
    return [
        EvidenceOut(
            feature=found.name,
            group=group,
            evidence=found.evidence,
            before=found.before,
            after=found.after,
            sentence=found.sentence,
        )
        for group in GROUPS
        for found in watched.detector.evidence(group)
    ]
