"""Inputs too large for a batch: kept in the artifact store, told by their digest."""

import asyncio
import io
from collections.abc import Sequence

import numpy as np
import structlog
from prometheus_client import CollectorRegistry, Counter

from loopwright_common.errors import LoopwrightError
from loopwright_common.storage import ArtifactStore
from loopwright_scorer.recording.records import LargeInput

log = structlog.get_logger()
_SECONDS = 2.0
"""For all arrays of a batch: records go out without those that take longer."""


class InputOffloader:
    """Offloads the large inputs of calls to the store, one `.npy` for each call and input."""

    def __init__(self, store: ArtifactStore, registry: CollectorRegistry) -> None:
        self._store = store
        self._kept = self._count(registry, "kept", "put into the artifact store")
        self._dropped = self._count(registry, "dropped", "that the store did not take in time")

    @staticmethod
    def _count(registry: CollectorRegistry, name: str, what: str) -> Counter:
        return Counter(
            f"loopwright_inference_arrays_{name}", f"Large inputs {what}.", registry=registry
        )

    async def offload(self, wanted: Sequence[LargeInput]) -> dict[tuple[str, str], str]:
        """Store the inputs; digests of those stored, by prediction id and input."""
        digests: dict[tuple[str, str], str] = {}
        try:
            async with asyncio.timeout(_SECONDS):
                for large in wanted:
                    body = await asyncio.to_thread(_npy, large.values)
                    stored = await self._store.put(body)
                    digests[large.prediction_id, large.name] = stored.digest
        except (TimeoutError, LoopwrightError, ValueError) as error:
            log.warning("recorder.arrays-dropped", error=str(error) or "the store is too slow")
        self._kept.inc(len(digests))
        self._dropped.inc(len(wanted) - len(digests))
        return digests


def _npy(values: np.ndarray) -> bytes:
    """ValueError for values that are objects."""
    sink = io.BytesIO()
    np.save(sink, values, allow_pickle=False)
    return sink.getvalue()
