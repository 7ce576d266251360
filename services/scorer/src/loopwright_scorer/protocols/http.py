"""The inference protocols that are spoken over HTTP."""

from collections.abc import Awaitable, Callable

from loopwright_scorer.protocols.door import HttpProtocol
from loopwright_scorer.protocols.mlflow_http import Invocations
from loopwright_scorer.protocols.openapi_http import ModelPages
from loopwright_scorer.protocols.repository import ModelRepository
from loopwright_scorer.protocols.v1 import Predictions
from loopwright_scorer.protocols.v2_http import OpenInference
from loopwright_scorer.service import Scoring
from loopwright_scorer.totals import Ledger


def http_protocols(
    scoring: Scoring,
    unready: Callable[[], Awaitable[str | None]],
    ledger: Ledger,
    repository: ModelRepository,
) -> list[HttpProtocol]:
    """Of several that claim a path the first has it."""
    return [
        OpenInference(scoring, unready, ledger, repository),
        Predictions(scoring),
        ModelPages(scoring.routes),
        Invocations(scoring),
    ]
