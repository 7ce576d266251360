"""Which loaded versions stay in memory: those with traffic always, others as the budget allows."""

import asyncio
import time
from collections.abc import Collection

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from loopwright_scorer.models.loaded_model import LoadedModel
from loopwright_scorer.models.package_cache import PackageCache

log = structlog.get_logger()


class MemoryManager:
    """Puts out versions that can only be named, the least recently used first, and back again.

    What a version takes is measured when it is loaded, as its process's growth and at least the
    size of its package: loads at the same time count each other's growth too.
    """

    def __init__(self, shelf: PackageCache, budget: int, registry: CollectorRegistry) -> None:
        """`budget` in bytes."""
        self._shelf = shelf
        self._budget = budget
        self._held: dict[str, set[str]] = {}
        self._coming: dict[str, asyncio.Task[None]] = {}
        loaded = Gauge(
            "loopwright_loaded_bytes",
            "What the versions in memory took when they were loaded.",
            registry=registry,
        )
        loaded.set_function(lambda: self.loaded_bytes)
        self._evictions = Counter(
            "loopwright_evictions",
            "Versions put out of memory because others needed the room.",
            registry=registry,
        )

    @property
    def loaded_bytes(self) -> int:
        """What the versions in memory take."""
        return sum(model.memory for model in self._shelf.loaded() if model.is_in_memory)

    def hold(self, model_id: str, digests: Collection[str]) -> None:
        """Let these stay as well, for a route that is about to be served."""
        self._held.setdefault(model_id, set()).update(digests)

    def hold_only(self, model_id: str, digests: Collection[str]) -> None:
        """Let these stay, and of the model's others what there is room for."""
        self._held[model_id] = set(digests)
        self.make_room()

    async def bring(self, model: LoadedModel) -> None:
        """Have it in memory, loaded once for all who wait; LoopwrightError says why it is not."""
        if model.is_in_memory:
            return
        if (task := self._coming.get(model.digest)) is None:
            task = self._coming[model.digest] = asyncio.create_task(self._load(model))
            task.add_done_callback(lambda _: self._coming.pop(model.digest))
        await asyncio.shield(task)

    async def load(self, model: LoadedModel) -> None:
        """Bring it, also where it was unloaded."""
        model.unloaded = False
        await self.bring(model)

    def unload(self, model: LoadedModel) -> None:
        """Put it out until it is loaded."""
        model.unloaded = True
        model.put_out()

    def make_room(self) -> None:
        """Evict until what is loaded fits the budget, or nothing more may go."""
        excess = self.loaded_bytes - self._budget
        if excess <= 0:
            return
        idle = [m for m in self._shelf.loaded() if self._may_go(m)]
        for model in sorted(idle, key=lambda m: m.used_at):
            model.put_out()
            self._evictions.inc()
            log.info("version.evicted", digest=model.digest, bytes=model.memory)
            excess -= model.memory
            if excess <= 0:
                return

    async def _load(self, model: LoadedModel) -> None:
        fresh = await self._shelf.fresh(model.digest)
        model.take(fresh)
        model.used_at = time.monotonic()
        log.info("version.loaded", digest=model.digest, bytes=model.memory)
        self.make_room()

    def _may_go(self, model: LoadedModel) -> bool:
        return model.is_in_memory and not model.callers and not self.has_traffic(model)

    def has_traffic(self, model: LoadedModel) -> bool:
        """Whether a route sends calls to it, or is about to."""
        return any(model.digest in held for held in self._held.values())
