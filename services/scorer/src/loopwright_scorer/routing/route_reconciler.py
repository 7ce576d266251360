"""Reconciles the served routes with `routes-changed`: load, verify and warm, and only then swap."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from loopwright_common.bus import TableReader
from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.events import Arm, Event, RoutesChanged, ServedRoute
from loopwright_common.failpoints import failpoint
from loopwright_scorer.models.load_backoff import LoadBackoff
from loopwright_scorer.models.loaded_model import LoadedModel
from loopwright_scorer.models.memory_manager import MemoryManager
from loopwright_scorer.models.package_cache import PackageCache
from loopwright_scorer.routing.route_files import RouteFiles
from loopwright_scorer.routing.routes import Routes, assemble

log = structlog.get_logger()
_RETRY_SECONDS = 5.0


@dataclass(slots=True)
class LoadFailures:
    """Why versions could not be loaded, by version.

    `problems` are their own, `waiting` what passes once something that is away is back.
    """

    problems: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.problems or self.waiting)

    def record(self, version: int, error: LoopwrightError) -> None:
        passes = isinstance(error, UnavailableError)
        (self.waiting if passes else self.problems)[str(version)] = str(error)


_NO_FAILURES = LoadFailures()


class RouteReconciler:
    """Brings `routes` in line with the table, and persists it on disk for the next start."""

    def __init__(
        self,
        routes: Routes,
        package_cache: PackageCache,
        memory: MemoryManager,
        directory: Path,
        environment: str,
    ) -> None:
        self._routes = routes
        self._package_cache = package_cache
        self._memory = memory
        self._files = RouteFiles(directory)
        self._prefix = f"{environment}/"
        self._is_draining = False
        self._failures: dict[str, LoadFailures] = {}
        self._known: set[str] = set()
        self._referenced: dict[str, set[str]] = {}
        self._backoff = LoadBackoff()
        self._applying: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self.changed = routes.changed
        self.synced = asyncio.Event()
        """Set once there is something to serve, or the whole table has been read."""

    def start_draining(self) -> None:
        """From now on the replica tells whoever asks to send no more calls."""
        self._is_draining = True

    async def not_ready_reason(self) -> str | None:
        """Why no calls should be sent here, yet or any more."""
        if self._is_draining:
            return "the scorer is stopping"
        return None if self.synced.is_set() else "the routes have not been read yet"

    def served_routes(self) -> list[ServedRoute]:
        """Per model the revision served, and why a newer one is not."""
        served = {route.model_id: route for route in self._routes.all()}
        return [
            ServedRoute(
                model_id=model_id,
                revision=served[model_id].revision if model_id in served else 0,
                problems=self._failures.get(model_id, _NO_FAILURES).problems,
                waiting=self._failures.get(model_id, _NO_FAILURES).waiting,
                tripped=served[model_id].tripped() if model_id in served else {},
            )
            for model_id in sorted(served.keys() | self._failures.keys())
        ]

    async def restore(self) -> None:
        """Serve what was served before the restart, without the bus; no model waits for another."""
        async with asyncio.TaskGroup() as group:
            async for path, body in self._files.read_all():
                group.create_task(self._restore_one(path, body))
        if self._routes.all():
            self.synced.set()

    async def _restore_one(self, path: Path, body: bytes) -> None:
        try:
            await self.apply(RoutesChanged.from_bytes(body))
        except LoopwrightError as error:
            log.warning("route.not-restored", path=str(path), error=str(error))

    async def run(self, reader: TableReader[RoutesChanged]) -> None:
        """Until cancelled; what could not be loaded is tried again, sooner or later.

        Each model goes by itself: a package that takes minutes keeps no other waiting.
        """
        await self.restore()
        async with asyncio.TaskGroup() as group:
            while True:
                if await self._wait_until_due(reader):
                    reader.changed.clear()
                    await self._reconcile(reader.rows, group)
                if reader.ready.is_set() and not self._applying:
                    self.synced.set()
                    await self._collect_garbage()

    async def _wait_until_due(self, reader: TableReader[RoutesChanged]) -> bool:
        """Once a change has come or time has passed; False when all under way has ended."""
        changed = asyncio.ensure_future(reader.changed.wait())
        tasks = [task for _, task in self._applying.values()]
        await asyncio.wait(
            {changed, *tasks}, timeout=_RETRY_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        is_due = changed.done() or not any(task.done() for task in tasks)
        changed.cancel()
        self._applying = {
            model_id: each for model_id, each in self._applying.items() if not each[1].done()
        }
        return is_due

    async def _reconcile(
        self, rows: Mapping[str, Event[RoutesChanged]], group: asyncio.TaskGroup
    ) -> None:
        """Begin to serve the table's rows of this environment, and no model whose row has gone."""
        ours = {key: row.data for key, row in rows.items() if key.startswith(self._prefix)}
        for key in self._known - ours.keys():
            await self._remove(key.removeprefix(self._prefix))
        self._known = set(ours)
        for data in ours.values():
            self._start_applying(data, group)

    def _start_applying(self, data: RoutesChanged, group: asyncio.TaskGroup) -> None:
        """A newer revision takes the place of one whose packages are still being loaded."""
        revision, _ = self._applying.get(data.model_id, (0, None))
        if revision >= data.revision:
            return
        self._cancel(data.model_id)
        self._applying[data.model_id] = (data.revision, group.create_task(self.apply(data)))

    def _cancel(self, model_id: str) -> None:
        _, task = self._applying.pop(model_id, (0, None))
        if task is not None:
            task.cancel()

    async def _collect_garbage(self) -> None:
        referenced: set[str] = set().union(*self._referenced.values())
        self._backoff.retain(referenced)
        await self._package_cache.prune(referenced)

    async def apply(self, data: RoutesChanged) -> None:
        """Load, then swap; a route with a damaged arm is never served and says why."""
        served = self._routes.by_id(data.model_id)
        if served and served.revision >= data.revision:
            return
        digests = {arm.digest for arm in (*data.arms, *data.kept)}
        self._referenced.setdefault(data.model_id, set()).update(digests)
        live = {arm.digest for arm in data.arms}
        self._memory.pin(data.model_id, live)
        arms, failures = await self._load(data, data.arms)
        self._record_failures(data.model_id, failures)
        if failures:
            return
        kept, _ = await self._load(data, data.kept)
        await self._files.write(data)
        failpoint("scorer.loaded")
        self._routes.install(assemble(data, {**kept, **arms}))
        self._referenced[data.model_id] = digests
        self._memory.pin_only(data.model_id, live)
        log.info("route.served", model=data.model, revision=data.revision)

    async def _load(
        self, data: RoutesChanged, arms: Sequence[Arm]
    ) -> tuple[dict[int, LoadedModel], LoadFailures]:
        loaded, failures = {}, LoadFailures()
        for arm in arms:
            if why := self._backoff.refusal(arm.digest):
                failures.problems[str(arm.version)] = why
                continue
            try:
                model = loaded[arm.version] = await self._package_cache.get(arm.digest)
                if arm in data.arms:
                    await self._memory.load_on_request(model)
                self._memory.evict()
            except LoopwrightError as error:
                self._backoff.record_failure(arm.digest, error)
                failures.record(arm.version, error)
                log.warning(
                    "version.not-loaded", model=data.model, version=arm.version, why=str(error)
                )
        return loaded, failures

    def _record_failures(self, model_id: str, failures: LoadFailures) -> None:
        if failures != self._failures.get(model_id, _NO_FAILURES):
            self._failures[model_id] = failures
            self._routes.changed.set()

    async def _remove(self, model_id: str) -> None:
        self._cancel(model_id)
        self._routes.remove(model_id)
        self._failures.pop(model_id, None)
        self._referenced.pop(model_id, None)
        self._memory.pin_only(model_id, ())
        await self._files.delete(model_id)
