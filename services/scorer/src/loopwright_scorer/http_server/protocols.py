"""The inference protocols that are spoken over HTTP."""

from collections.abc import Awaitable, Callable

from loopwright_scorer.inference.call_recorder import CallStats
from loopwright_scorer.inference.service import InferenceService
from loopwright_scorer.protocols.base import InferenceProtocol
from loopwright_scorer.protocols.mlflow.http import MlflowProtocol
from loopwright_scorer.protocols.model_repository import ModelRepository
from loopwright_scorer.protocols.openapi.http import OpenApiProtocol
from loopwright_scorer.protocols.v1.http import V1Protocol
from loopwright_scorer.protocols.v2.http import V2Protocol


def http_protocols(
    scoring: InferenceService,
    unready: Callable[[], Awaitable[str | None]],
    stats: CallStats,
    repository: ModelRepository,
) -> list[InferenceProtocol]:
    """All protocols of a scorer; of several that claim a path the first has it."""
    return [
        V2Protocol(scoring, unready, stats, repository),
        V1Protocol(scoring),
        OpenApiProtocol(scoring.routes),
        MlflowProtocol(scoring),
    ]
