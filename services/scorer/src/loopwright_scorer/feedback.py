"""True outcomes of earlier predictions, on their way to the bus."""

from collections.abc import Sequence

from loopwright_common import clock
from loopwright_common.bus import EventBus
from loopwright_common.errors import InvalidError
from loopwright_common.events import GroundTruthLogged
from loopwright_scorer.inference.prediction_ids import PredictionIds
from loopwright_scorer.new_event import new_event
from loopwright_scorer.routing.routes import Routes
from loopwright_scorer.schemas import FeedbackIn, FeedbackOut, Label

_LABELS_PER_EVENT = 2_000


class FeedbackPublisher:
    """Checks labels against this installation's ids and hands them to the bus."""

    def __init__(self, bus: EventBus, routes: Routes, ids: PredictionIds) -> None:
        self._bus = bus
        self._routes = routes
        self._ids = ids

    async def publish(self, given: FeedbackIn) -> FeedbackOut:
        """Returns once the bus has the labels; UnavailableError when it cannot take them.

        InvalidError where ids and labels are not as many, NotFoundError without the model.
        """
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
