"""What the scorer offers beside the inference protocols: feedback, and what is served."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus
from loopwright_common.errors import InvalidError
from loopwright_common.events import GroundTruthLogged, ServedRoute
from loopwright_common.web.app import PROBLEMS
from loopwright_scorer.inference.prediction_ids import PredictionIds
from loopwright_scorer.new_event import new_event
from loopwright_scorer.routing.route_reconciler import RouteReconciler
from loopwright_scorer.routing.routes import Route, Routes

router = APIRouter(prefix="/v1", responses=PROBLEMS)
_MOST_LABELS = 10_000
_LABELS_PER_EVENT = 2_000
_LARGEST_ID = 128
_LONGEST_LABEL = 256
Id = Annotated[str, Field(min_length=1, max_length=_LARGEST_ID, pattern=r"^[^\x00]+$")]
Label = (
    Annotated[str, Field(max_length=_LONGEST_LABEL)]
    | bool
    | Annotated[int, Field(ge=-(2**63), lt=2**63)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | None
)


class FeedbackIn(BaseModel):
    """True outcomes: `labels[i]` belongs to `ids[i]`; a prediction's row i is `<id>.<i>`."""

    model_config = ConfigDict(extra="forbid")
    model: str
    ids: list[Id] = Field(min_length=1, max_length=_MOST_LABELS)
    labels: list[Annotated[Label, Field(union_mode="smart")]]
    id_kind: Literal["prediction", "request"] = "prediction"


class FeedbackOut(BaseModel):
    """Labels kept by the event bus, and the ids that are of no prediction of this model."""

    accepted: int
    unknown: list[str]
    why: str | None = None
    """What is likely wrong with the unknown ids."""


class ArmOut(BaseModel):
    version: int
    weight: float
    role: Literal["live", "shadow", "kept"]
    format: str
    digest: str
    state: Literal["serving", "tripped"]
    why: str | None = None
    calls: int
    errors: int


class ServedModelOut(BaseModel):
    """`revision` 0 means that nothing of the model could be loaded yet.

    By version: `problems` of its own, and what it is `waiting` for, which is tried again.
    """

    model: str | None
    model_id: str
    revision: int
    arms: list[ArmOut]
    problems: dict[str, str]
    waiting: dict[str, str]


class ServedModelsOut(BaseModel):
    """`models` are the names alone, as clients of KServe's protocol V1 read them."""

    items: list[ServedModelOut]
    models: list[str]
    next: str | None = None


class FeedbackPublisher:
    """Checks labels against this installation's ids and hands them to the bus."""

    def __init__(self, bus: EventBus, routes: Routes, ids: PredictionIds) -> None:
        self._bus = bus
        self._routes = routes
        self._ids = ids

    async def publish(self, given: FeedbackIn) -> FeedbackOut:
        """Returns once the bus has the labels; UnavailableError when it cannot take them."""
        if len(given.ids) != len(given.labels):
            raise InvalidError(
                f"{len(given.labels)} labels for {len(given.ids)} ids; give one label per id",
                field="labels",
            )
        model_id = self._routes.route(given.model).model_id
        known, unknown = self._split_known(given, model_id)
        parts = [known[i : i + _LABELS_PER_EVENT] for i in range(0, len(known), _LABELS_PER_EVENT)]
        await self._bus.publish(
            [
                new_event(
                    GroundTruthLogged(
                        model_id=model_id,
                        model=given.model,
                        ids=[row_id for row_id, _ in part],
                        id_kind=given.id_kind,
                        labels=[label for _, label in part],
                        at=clock.now(),
                    ),
                    key=model_id,
                    subject=f"models/{given.model}",
                )
                for part in parts
            ]
        )
        return FeedbackOut(accepted=len(known), unknown=unknown, why=_why(unknown, given.model))

    def _split_known(
        self, given: FeedbackIn, model_id: str
    ) -> tuple[list[tuple[str, Label]], list[str]]:
        known: list[tuple[str, Label]] = []
        unknown: list[str] = []
        for text, label in zip(given.ids, given.labels, strict=True):
            row_id = text if given.id_kind == "request" else self._ids.row_id(text, model_id)
            if row_id is None:
                unknown.append(text)
            else:
                known.append((row_id, label))
        return known, unknown


def _why(unknown: Sequence[str], model: str) -> str | None:
    if not unknown:
        return None
    sealed = sum(PredictionIds.has_form(each) for each in unknown)
    if not sealed:
        return (
            f"{len(unknown)} are no prediction ids: give those of the header "
            "loopwright-prediction-id, or say id_kind: request for your own request ids"
        )
    return (
        f"{sealed} look like prediction ids, but none that this scorer made for {model!r}: they "
        "are forged, of another model or installation, or of a replica with another key; give all "
        "replicas the same LOOPWRIGHT_SCORER_PREDICTION_KEY"
    )


def attach(
    app: FastAPI, feedback: FeedbackPublisher, routes: Routes, reconciler: RouteReconciler
) -> None:
    """Add the routes and what they work with to the app."""
    app.state.feedback, app.state.routes, app.state.reconciler = feedback, routes, reconciler
    app.include_router(router)


def _feedback(request: Request) -> FeedbackPublisher:
    feedback: FeedbackPublisher = request.app.state.feedback
    return feedback


@router.post("/feedback", status_code=202, tags=["feedback"])
async def give_feedback(
    given: FeedbackIn, feedback: Annotated[FeedbackPublisher, Depends(_feedback)]
) -> FeedbackOut:
    """Tell the true outcomes of earlier predictions."""
    return await feedback.publish(given)


@router.get("/models", tags=["models"])
async def list_models(request: Request) -> ServedModelsOut:
    """Every model with a route, its arms, and why a newer route is not served."""
    routes: Routes = request.app.state.routes
    reconciler: RouteReconciler = request.app.state.reconciler
    return ServedModelsOut(
        items=[
            _model(served, routes.by_id(served.model_id)) for served in reconciler.served_routes()
        ],
        models=[route.model for route in routes.all()],
    )


def _model(served: ServedRoute, route: Route | None) -> ServedModelOut:
    versions = sorted(route.versions, reverse=True) if route else []
    return ServedModelOut(
        model=route.model if route else None,
        model_id=served.model_id,
        revision=served.revision,
        arms=[_arm(route, version) for version in versions] if route else [],
        problems=served.problems,
        waiting=served.waiting,
    )


def _arm(route: Route, version: int) -> ArmOut:
    arm = route.versions[version]
    weights = {share.version: share.weight for share in route.shares}
    is_shadow = any(shadow.version == version for shadow in route.shadows)
    return ArmOut(
        version=version,
        weight=weights.get(version, 0.0),
        role="live" if version in weights else "shadow" if is_shadow else "kept",
        format=arm.model.spec.format,
        digest=arm.model.digest,
        state="tripped" if arm.circuit.opened else "serving",
        why=arm.circuit.opened,
        calls=arm.counters.calls,
        errors=arm.counters.errors,
    )
