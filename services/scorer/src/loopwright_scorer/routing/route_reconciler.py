"""Following `routes-changed`: load, verify and warm every arm, and only then swap."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from loopwright_common.bus.compacted_table import TableReader
from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.events import Arm, Event, RoutesChanged, ServedRoute
from loopwright_common.failpoints import failpoint
from loopwright_common.ids import derived_id
from loopwright_scorer.models.load_backoff import LoadBackoff
from loopwright_scorer.models.loaded_model import LoadedModel
from loopwright_scorer.models.memory_manager import MemoryManager
from loopwright_scorer.models.package_cache import PackageCache
from loopwright_scorer.routing.routes import Routes, assemble

log = structlog.get_logger()
_RETRY_SECONDS = 5.0


@dataclass(slots=True)
class LoadFailures:
    """Why versions could not be loaded: of their own, or for as long as something is away."""

    problems: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.problems or self.waiting)

    def add(self, version: int, error: LoopwrightError) -> None:
        passes = isinstance(error, UnavailableError)
        (self.waiting if passes else self.problems)[str(version)] = str(error)


_NONE = LoadFailures()


class RouteReconciler:
    """Brings `routes` in line with the table, and remembers it on disk for the next start."""

    def __init__(
        self,
        routes: Routes,
        shelf: PackageCache,
        residence: MemoryManager,
        directory: Path,
        environment: str,
    ) -> None:
        self._routes = routes
        self._shelf = shelf
        self._residence = residence
        self._directory = directory
        self._prefix = f"{environment}/"
        self._is_leaving = False
        self._reasons: dict[str, LoadFailures] = {}
        self._seen: set[str] = set()
        self._wanted: dict[str, set[str]] = {}
        self._patience = LoadBackoff()
        self._under_way: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self.changed = routes.changed
        self.settled = asyncio.Event()
        """Set once there is something to serve, or the whole table has been read."""
        directory.mkdir(parents=True, exist_ok=True)

    def leave(self) -> None:
        """From now on the replica tells whoever asks to send no more calls."""
        self._is_leaving = True

    async def unready(self) -> str | None:
        """Why no calls should be sent here, yet or any more."""
        if self._is_leaving:
            return "the scorer is stopping"
        return None if self.settled.is_set() else "the routes have not been read yet"

    def report(self) -> list[ServedRoute]:
        """Per model the revision served, and why a newer one is not."""
        served = {route.model_id: route for route in self._routes.all()}
        return [
            ServedRoute(
                model_id=model_id,
                revision=served[model_id].revision if model_id in served else 0,
                problems=self._reasons.get(model_id, _NONE).problems,
                waiting=self._reasons.get(model_id, _NONE).waiting,
                tripped=served[model_id].tripped() if model_id in served else {},
            )
            for model_id in sorted(served.keys() | self._reasons.keys())
        ]

    async def restore(self) -> None:
        """Serve what was served before the restart, without the bus."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                await self.apply(RoutesChanged.from_bytes(await asyncio.to_thread(path.read_bytes)))
            except LoopwrightError as error:
                log.warning("route.not-restored", path=str(path), error=str(error))
        if self._routes.all():
            self.settled.set()

    async def follow(self, reader: TableReader[RoutesChanged]) -> None:
        """Until cancelled; what could not be loaded is tried again, sooner or later.

        Each model goes by itself: a package that takes minutes keeps no other waiting.
        """
        await self.restore()
        async with asyncio.TaskGroup() as group:
            while True:
                if await self._is_due(reader):
                    reader.changed.clear()
                    await self._take(reader.rows, group)
                if reader.ready.is_set() and not self._under_way:
                    self.settled.set()
                    await self._tidy()

    async def _is_due(self, reader: TableReader[RoutesChanged]) -> bool:
        """Once a change has come or time has passed; False when all under way has ended."""
        changed = asyncio.ensure_future(reader.changed.wait())
        tasks = [task for _, task in self._under_way.values()]
        await asyncio.wait(
            {changed, *tasks}, timeout=_RETRY_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        is_due = changed.done() or not any(task.done() for task in tasks)
        changed.cancel()
        self._under_way = {
            model_id: each for model_id, each in self._under_way.items() if not each[1].done()
        }
        return is_due

    async def _take(
        self, rows: Mapping[str, Event[RoutesChanged]], group: asyncio.TaskGroup
    ) -> None:
        """Begin to serve the table's rows of this environment, and no model whose row has gone."""
        ours = {key: row.data for key, row in rows.items() if key.startswith(self._prefix)}
        for key in self._seen - ours.keys():
            await self._remove(key.removeprefix(self._prefix))
        self._seen = set(ours)
        for data in ours.values():
            self._begin(data, group)

    def _begin(self, data: RoutesChanged, group: asyncio.TaskGroup) -> None:
        """A newer revision takes the place of one whose packages are still being loaded."""
        revision, _ = self._under_way.get(data.model_id, (0, None))
        if revision >= data.revision:
            return
        self._stop(data.model_id)
        self._under_way[data.model_id] = (data.revision, group.create_task(self.apply(data)))

    def _stop(self, model_id: str) -> None:
        _, task = self._under_way.pop(model_id, (0, None))
        if task is not None:
            task.cancel()

    async def _tidy(self) -> None:
        wanted: set[str] = set().union(*self._wanted.values())
        self._patience.forget(wanted)
        await self._shelf.prune(wanted)

    async def apply(self, data: RoutesChanged) -> None:
        """Load, then swap; a route with a damaged arm is never served and says why."""
        served = self._routes.by_id(data.model_id)
        if served and served.revision >= data.revision:
            return
        digests = {arm.digest for arm in (*data.arms, *data.kept)}
        self._wanted.setdefault(data.model_id, set()).update(digests)
        live = {arm.digest for arm in data.arms}
        self._residence.hold(data.model_id, live)
        arms, reasons = await self._load(data, data.arms)
        self._note(data.model_id, reasons)
        if reasons:
            return
        kept, _ = await self._load(data, data.kept)
        await self._remember(data)
        failpoint("scorer.loaded")
        self._routes.install(assemble(data, {**kept, **arms}))
        self._wanted[data.model_id] = digests
        self._residence.hold_only(data.model_id, live)
        log.info("route.served", model=data.model, revision=data.revision)

    async def _load(
        self, data: RoutesChanged, arms: Sequence[Arm]
    ) -> tuple[dict[int, LoadedModel], LoadFailures]:
        loaded, reasons = {}, LoadFailures()
        for arm in arms:
            if why := self._patience.refusal(arm.digest):
                reasons.problems[str(arm.version)] = why
                continue
            try:
                model = loaded[arm.version] = await self._shelf.get(arm.digest)
                if arm in data.arms:
                    await self._residence.load(model)
                self._residence.make_room()
            except LoopwrightError as error:
                self._patience.failed(arm.digest, error)
                reasons.add(arm.version, error)
                log.warning(
                    "version.not-loaded", model=data.model, version=arm.version, why=str(error)
                )
        return loaded, reasons

    def _note(self, model_id: str, reasons: LoadFailures) -> None:
        if reasons != self._reasons.get(model_id, _NONE):
            self._reasons[model_id] = reasons
            self._routes.changed.set()

    async def _remember(self, data: RoutesChanged) -> None:
        """For a restart without the bus; a full disk keeps no route from being served."""
        path = self._path(data.model_id)
        temporary = path.with_suffix(f".{data.revision}")
        try:
            await asyncio.to_thread(temporary.write_bytes, data.to_bytes())
            await asyncio.to_thread(temporary.rename, path)
        except OSError as error:
            log.warning("route.not-remembered", model=data.model, error=str(error))

    async def _remove(self, model_id: str) -> None:
        self._stop(model_id)
        self._routes.remove(model_id)
        self._reasons.pop(model_id, None)
        self._wanted.pop(model_id, None)
        self._residence.hold_only(model_id, ())
        await asyncio.to_thread(self._path(model_id).unlink, missing_ok=True)

    def _path(self, model_id: str) -> Path:
        """Named by a hash: an id is opaque and may hold anything."""
        return self._directory / f"{derived_id('route', model_id)}.json"
