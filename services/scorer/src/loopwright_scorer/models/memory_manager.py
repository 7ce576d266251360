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
    """Evicts versions without traffic, the least recently used first, and loads them again on use.

    What a version takes is measured when it is loaded, as its process's growth and at least the
    size of its package: loads at the same time count each other's growth too.
    """

    def __init__(
        self, package_cache: PackageCache, budget: int, registry: CollectorRegistry
    ) -> None:
        """`budget` in bytes."""
        self._package_cache = package_cache
        self._budget = budget
        self._pinned: dict[str, set[str]] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        loaded = Gauge(
            "loopwright_loaded_bytes",
            "What the versions in memory took when they were loaded.",
            registry=registry,
        )
        loaded.set_function(lambda: self.loaded_bytes)
        self._evictions = Counter(
            "loopwright_evictions",
            "Versions evicted from memory because others needed the room.",
            registry=registry,
        )

    @property
    def loaded_bytes(self) -> int:
        """What the versions in memory take."""
        return sum(
            model.memory for model in self._package_cache.loaded_models() if model.is_in_memory
        )

    def pin(self, model_id: str, digests: Collection[str]) -> None:
        """Keep these in memory as well, for a route that is about to be served."""
        self._pinned.setdefault(model_id, set()).update(digests)

    def pin_only(self, model_id: str, digests: Collection[str]) -> None:
        """Keep only these of the model in memory, and of its others what there is room for."""
        self._pinned[model_id] = set(digests)
        self.evict()

    async def load(self, model: LoadedModel) -> None:
        """Have it in memory, loaded once for all who wait.

        Raises the LoopwrightError that says why it cannot be loaded.
        """
        if model.is_in_memory:
            return
        if (task := self._loading.get(model.digest)) is None:
            task = self._loading[model.digest] = asyncio.create_task(self._load(model))
            task.add_done_callback(lambda _: self._loading.pop(model.digest))
        await asyncio.shield(task)

    async def load_on_request(self, model: LoadedModel) -> None:
        """Load it, also where it was unloaded on request; errors as `load`."""
        model.unloaded = False
        await self.load(model)

    def unload_on_request(self, model: LoadedModel) -> None:
        """Unload it until somebody asks to load it."""
        model.unloaded = True
        model.unload()

    def evict(self) -> None:
        """Evict until what is loaded fits the budget, or nothing more may go."""
        excess = self.loaded_bytes - self._budget
        if excess <= 0:
            return
        idle = [m for m in self._package_cache.loaded_models() if self._may_be_evicted(m)]
        for model in sorted(idle, key=lambda m: m.used_at):
            model.unload()
            self._evictions.inc()
            log.info("version.evicted", digest=model.digest, bytes=model.memory)
            excess -= model.memory
            if excess <= 0:
                return

    async def _load(self, model: LoadedModel) -> None:
        fresh = await self._package_cache.load_fresh(model.digest)
        model.adopt_engine(fresh)
        model.used_at = time.monotonic()
        log.info("version.loaded", digest=model.digest, bytes=model.memory)
        self.evict()

    def _may_be_evicted(self, model: LoadedModel) -> bool:
        return model.is_in_memory and not model.callers and not self.has_traffic(model)

    def has_traffic(self, model: LoadedModel) -> bool:
        """Whether a route sends calls to it, or is about to."""
        return any(model.digest in pinned for pinned in self._pinned.values())
