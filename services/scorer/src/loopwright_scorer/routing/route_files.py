"""Routes as they are kept on disk, for a restart without the bus."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from loopwright_common.events import RoutesChanged
from loopwright_common.ids import derived_id

log = structlog.get_logger()


class RouteFiles:
    """The latest route served of each model, one file each, whole or not at all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    async def read_all(self) -> AsyncIterator[tuple[Path, bytes]]:
        """Every file with the body of its `routes-changed` event."""
        for path in sorted(self._directory.glob("*.json")):
            yield path, await asyncio.to_thread(path.read_bytes)

    async def write(self, data: RoutesChanged) -> None:
        """A full disk keeps no route from being served: it is only logged."""
        path = self._path(data.model_id)
        temporary = path.with_suffix(f".{data.revision}")
        try:
            await asyncio.to_thread(temporary.write_bytes, data.to_bytes())
            await asyncio.to_thread(temporary.rename, path)
        except OSError as error:
            log.warning("route.not-persisted", model=data.model, error=str(error))

    async def delete(self, model_id: str) -> None:
        await asyncio.to_thread(self._path(model_id).unlink, missing_ok=True)

    def _path(self, model_id: str) -> Path:
        """Named by a hash: an id is opaque and may hold anything."""
        return self._directory / f"{derived_id('route', model_id)}.json"
