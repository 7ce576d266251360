"""What the scorer offers beside the inference protocols: feedback, and what is served."""

from fastapi import APIRouter

from loopwright_common.web.problems import PROBLEMS
from loopwright_common.web.request_limits import BodyLimit, takes_body
from loopwright_scorer.feedback import FeedbackPublisher
from loopwright_scorer.routing.route_reconciler import RouteReconciler
from loopwright_scorer.routing.routes import Routes
from loopwright_scorer.schemas import FeedbackIn, FeedbackOut, ServedModelsOut, served_model_out


def create_router(
    feedback: FeedbackPublisher, routes: Routes, reconciler: RouteReconciler
) -> APIRouter:
    """The scorer's own API under `/v1`."""
    router = APIRouter(prefix="/v1", responses=PROBLEMS)
    _add_feedback(router, feedback)
    _add_models(router, routes, reconciler)
    return router


def _add_feedback(router: APIRouter, publisher: FeedbackPublisher) -> None:
    @router.post("/feedback", status_code=202, tags=["feedback"])
    @takes_body(BodyLimit(4 << 20))
    async def give_feedback(given: FeedbackIn) -> FeedbackOut:
        """Tell the true outcomes of earlier predictions."""
        return await publisher.publish(given)


def _add_models(router: APIRouter, routes: Routes, reconciler: RouteReconciler) -> None:
    @router.get("/models", tags=["models"])
    async def list_models() -> ServedModelsOut:
        """Every model with a route, its arms, and why a newer route is not served."""
        return ServedModelsOut(
            items=[
                served_model_out(served, routes.by_id(served.model_id))
                for served in reconciler.served_routes()
            ],
            models=[route.model for route in routes.all()],
        )
