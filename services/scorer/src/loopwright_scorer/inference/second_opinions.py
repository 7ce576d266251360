"""Whether the other live arm answers what one refused or failed at, asked once the caller has gone.

A request that no version answers says nothing about either, however often it comes: with one bad
row a caller that tries again and again would have any canary rolled back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter

from loopwright_common.errors import LoopwrightError, OverloadedError
from loopwright_scorer.inference.background_tasks import BackgroundTasks
from loopwright_scorer.inference.codec import InferenceCodec, InferenceResult
from loopwright_scorer.inference.executor import LOOP_BYTES, InferenceExecutor
from loopwright_scorer.routing.routes import Route, ServedArm
from loopwright_scorer.tensors.tensors import InferenceRequest

log = structlog.get_logger()
_AT_ONCE = 16
_LOOP_SECONDS = 0.005
"""At once where it takes no longer: until it is known, callers meet the same fault."""


@dataclass(frozen=True, slots=True)
class UnansweredCall:
    """A call of a live arm that it refused or failed at, and how its answer would be written.

    `size` is the request's, in bytes.
    """

    route: Route
    arm: ServedArm
    request: InferenceRequest
    codec: InferenceCodec[Any]
    size: int


class SecondOpinions:
    """Asks a few at a time: of a version that answers nothing, a sample says enough."""

    def __init__(self, executor: InferenceExecutor, registry: CollectorRegistry) -> None:
        self._executor = executor
        self._asking = BackgroundTasks()
        self._dropped = Counter(
            "loopwright_second_opinions_dropped",
            "Unanswered calls of a canary or its champion that the other was not asked about.",
            ["model"],
            registry=registry,
        )

    def ask(self, call: UnansweredCall, then: Callable[[bool], None]) -> None:
        """Tell `then` whether the other arm answers it; nothing where it cannot be asked."""
        other = call.route.other_live(call.arm)
        if other is None or len(self._asking) >= _AT_ONCE or call.size > LOOP_BYTES:
            self._dropped.labels(call.route.model).inc()
            return
        self._asking.start(self._ask(call, other, then))

    async def run(self) -> None:
        """Until cancelled, and all that is being asked with it."""
        await self._asking.run()

    async def _ask(
        self, call: UnansweredCall, other: ServedArm, then: Callable[[bool], None]
    ) -> None:
        try:
            then(await self._is_answered(call, other))
        except OverloadedError:
            self._dropped.labels(call.route.model).inc()
        except LoopwrightError:
            then(False)
        except Exception:
            log.exception("second-opinion.failed", version=other.version)

    async def _is_answered(self, call: UnansweredCall, other: ServedArm) -> bool:
        """Computed and written; raises what the caller of the other arm would have been told."""
        inputs = other.model.signature.read(call.request)
        result = await self._executor.compute_aside(other.model, inputs, _LOOP_SECONDS)
        if result.outputs is None:
            return False
        call.codec.write(
            InferenceResult(call.route, other, call.request, result.inputs, result.outputs)
        )
        return True
