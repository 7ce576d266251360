"""Packages on disk, verified, and the models loaded from them."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from weakref import WeakValueDictionary

from loopwright_common.errors import CorruptError, InvalidError
from loopwright_common.files.removal import remove_tree
from loopwright_common.ids import new_id
from loopwright_common.storage import (
    ArtifactStore,
    PackageFile,
    digest_of,
    fetch_package,
    hex_of,
    package_digest,
)
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.models.loaded_model import LoadedModel, load
from loopwright_scorer.watchdog.computation_slots import ComputationSlots


class PackageCache:
    """Loaded models by digest, from a directory of verified packages that outlives the process."""

    def __init__(
        self,
        store: ArtifactStore,
        directory: Path,
        isolation: IsolationConfig | None = None,
        slots: ComputationSlots | None = None,
    ) -> None:
        self._store = store
        self._slots = slots
        self._isolation = isolation
        self._directory = directory
        self._loaded: WeakValueDictionary[str, LoadedModel] = WeakValueDictionary()
        directory.mkdir(parents=True, exist_ok=True)
        for torn in directory.glob("*.*"):
            remove_tree(torn)

    async def get(self, digest: str) -> LoadedModel:
        """The warmed model of a package; any LoopwrightError says why there is none."""
        if model := self._loaded.get(digest):
            return model
        model = self._loaded[digest] = await self.load_fresh(digest)
        return model

    async def load_fresh(self, digest: str) -> LoadedModel:
        """As `get`, opened and warmed anew; any LoopwrightError says why there is none."""
        directory = await self._package(digest)
        return await asyncio.to_thread(load, directory, digest, self._isolation, self._slots)

    def loaded_models(self) -> list[LoadedModel]:
        """The models that somebody still refers to."""
        return list(self._loaded.values())

    async def prune(self, keep: Collection[str]) -> None:
        """Forget the packages that no route names."""
        names = {hex_of(digest) for digest in keep}
        for directory in self._directory.iterdir():
            if directory.name not in names and "." not in directory.name:
                await asyncio.to_thread(remove_tree, directory)
        if self._isolation is not None:
            await asyncio.to_thread(self._isolation.environment_cache().prune)

    async def _package(self, digest: str) -> Path:
        directory = self._directory / hex_of(digest)
        if await asyncio.to_thread(_is_intact, directory, digest):
            return directory
        incoming = self._directory / f"{hex_of(digest)}.{new_id()}"
        try:
            await fetch_package(self._store, digest, incoming)
            await asyncio.to_thread(_replace, incoming, directory)
        finally:
            await asyncio.to_thread(remove_tree, incoming)
        return directory


def _is_intact(directory: Path, digest: str) -> bool:
    if not directory.is_dir():
        return False
    try:
        files = [
            PackageFile(
                path.relative_to(directory).as_posix(),
                digest_of(content := path.read_bytes()),
                len(content),
            )
            for path in directory.rglob("*")
            if path.is_file()
        ]
        return package_digest(files) == digest
    except (OSError, CorruptError, InvalidError):
        return False


def _replace(incoming: Path, directory: Path) -> None:
    remove_tree(directory)
    incoming.rename(directory)
