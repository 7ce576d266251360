"""`/v1`: what is watched, what was found, what was decided and what is captured."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query

from loopwright_common.database import Database
from loopwright_common.errors import NotFoundError
from loopwright_common.storage import ArtifactStore
from loopwright_common.web.problems import PROBLEMS
from loopwright_monitor.captures import snapshot
from loopwright_monitor.captures.repository import CaptureFiles, Manifests, Performances
from loopwright_monitor.drift.comparison import compare_with_reference
from loopwright_monitor.episodes.decision_repository import RecordedDecision, RecordedDecisions
from loopwright_monitor.episodes.repository import Episode, Episodes
from loopwright_monitor.schemas import (
    CapturedOut,
    CaptureFileOut,
    DecisionOut,
    DecisionPage,
    EpisodeOut,
    EpisodePage,
    EvidenceOut,
    GapsOut,
    ManifestOut,
    ModelNames,
    PerformanceOut,
    ProfileOut,
    WatchedModelOut,
)
from loopwright_monitor.watched.repository import WatchedModel, WatchedModels
from loopwright_monitor.watched.version_repository import WatchedVersions

ModelName = Annotated[str, Path(min_length=1, max_length=255)]
ModelFilter = Annotated[str | None, Query(max_length=255)]
After = Annotated[int | None, Query(ge=1, le=2**62)]
Limit = Annotated[int, Query(ge=1, le=500)]


def create_router(database: Database, store: ArtifactStore) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=PROBLEMS)
    _add_models(router, database)
    _add_episodes(router, database)
    _add_decisions(router, database)
    _add_captured(router, database, store)
    return router


def _add_models(router: APIRouter, database: Database) -> None:
    @router.get("/models", tags=["drift"])
    async def list_models() -> ModelNames:
        async with database.read() as connection:
            return ModelNames(items=await WatchedModels(connection).names())

    @router.get("/models/{model}", tags=["drift"])
    async def show_model(model: ModelName) -> WatchedModelOut:
        return await _model_out(database, await _named(database, model))


def _add_episodes(router: APIRouter, database: Database) -> None:
    @router.get("/episodes", tags=["drift"])
    async def list_episodes(
        model: ModelFilter = None, after: After = None, limit: Limit = 100
    ) -> EpisodePage:
        """Newest first; `after` is the `next` of the page before."""
        async with database.read() as connection:
            episodes = await Episodes(connection).page(model, after, limit)
        items = [EpisodeOut.of(each) for each in episodes]
        return EpisodePage(items=items, next=_next(episodes, limit))


def _add_decisions(router: APIRouter, database: Database) -> None:
    @router.get("/decisions", tags=["retraining"])
    async def list_decisions(
        model: ModelFilter = None, after: After = None, limit: Limit = 100
    ) -> DecisionPage:
        """Newest first: asked, waits, told only, closed, or a person is needed."""
        async with database.read() as connection:
            decisions = await RecordedDecisions(connection).page(model, after, limit)
        items = [DecisionOut.of(each) for each in decisions]
        return DecisionPage(items=items, next=_next(decisions, limit))


def _add_captured(router: APIRouter, database: Database, store: ArtifactStore) -> None:
    @router.get("/captured/{model}", tags=["captured"])
    async def show_captured(model: ModelName) -> CapturedOut:
        known = await _named(database, model)
        async with database.read() as connection:
            files = await CaptureFiles(connection, known.model_id).all()
            newest = await Manifests(connection, known.model_id).newest()
        return CapturedOut(
            model=known.model,
            rows=known.captured,
            labelled=known.labelled,
            newest=ManifestOut.of(newest) if newest else None,
            files=[CaptureFileOut.of(file) for file in files],
        )

    @router.post("/captured/{model}/manifest", status_code=201, tags=["captured"])
    async def pin_captured(model: ModelName) -> ManifestOut:
        """Pin what is captured by now; the digest means these rows and labels for ever."""
        known = await _named(database, model)
        return ManifestOut.of(await snapshot.pin(database, store, known.model_id))


def _next(items: Sequence[Episode | RecordedDecision], limit: int) -> str | None:
    return str(items[-1].position) if len(items) == limit else None


async def _named(database: Database, model: str) -> WatchedModel:
    async with database.read() as connection:
        found = await WatchedModels(connection).get_by_name(model)
    if found is None:
        raise NotFoundError(
            f"no model {model!r} is known to the monitor: it learns of a model when a version is "
            "registered or answers; GET /v1/models lists those it knows"
        )
    return found


async def _model_out(database: Database, model: WatchedModel) -> WatchedModelOut:
    async with database.read() as connection:
        version = (
            await WatchedVersions(connection).get(model.model_id, model.champion)
            if model.champion is not None
            else None
        )
        watched = await compare_with_reference(connection, version) if version else None
        performances = await Performances(connection, model.model_id).all()
        unclosed = await Episodes(connection).unclosed(model.model_id)
    process = watched.process if watched else None
    return WatchedModelOut(
        model_id=model.model_id,
        model=model.model,
        champion=model.champion,
        rows_seen=model.rows,
        captured=model.captured,
        labelled=model.labelled,
        gaps=GapsOut.of(model),
        profile=ProfileOut.of(version, watched) if version else None,
        alarm_at=process.bets.log_threshold if process else None,
        evidence=EvidenceOut.all(watched),
        performance=[PerformanceOut.of(number, now) for number, now in performances.items()],
        episodes=[EpisodeOut.of(episode) for episode in unclosed],
    )
