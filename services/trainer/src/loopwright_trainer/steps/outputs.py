"""Step outputs: kept in the store by digest, checked whole, written back when needed."""

import asyncio
import json
import math
from collections.abc import Iterable
from pathlib import Path

from loopwright_common.errors import CorruptError, InvalidError, LoopwrightError, NotFoundError
from loopwright_common.storage import ArtifactStore, fetch_package, parse_manifest, store_package
from loopwright_trainer.runs.domain import Output


class MissingOutputError(LoopwrightError):
    """A command went well and did not write what its stage declares."""


async def store_output(store: ArtifactStore, workspace: Path, path: str) -> Output:
    """Keep an output; MissingOutputError when it is not there, or is a link."""
    source = workspace / path
    await asyncio.to_thread(_refuse_links, source, path)
    if source.is_file():
        return Output(path=path, kind="file", digest=(await store.put(source)).digest)
    if source.is_dir():
        return Output(path=path, kind="directory", digest=await store_package(store, source))
    raise MissingOutputError(f"declares out {path}, but the command did not write it")


async def restore_output(store: ArtifactStore, output: Output, directory: Path) -> None:
    """Write a kept output below `directory`, verified."""
    target = directory / output.path
    if output.kind == "file":
        await store.fetch(output.digest, target)
        return
    target.mkdir(parents=True, exist_ok=True)
    await fetch_package(store, output.digest, target)


async def first_unusable(store: ArtifactStore, outputs: Iterable[Output]) -> str | None:
    """The path of the first output that is gone or damaged in the store, else None."""
    for output in outputs:
        try:
            await _verify(store, output)
        except (NotFoundError, CorruptError):
            return output.path
    return None


def numeric_leaves(content: bytes, file: str) -> dict[str, float]:
    """Metrics of a JSON or YAML file: finite numbers by dotted key."""
    import yaml

    try:
        values = json.loads(content) if file.endswith(".json") else yaml.safe_load(content)
    except (ValueError, yaml.YAMLError) as error:
        raise InvalidError(f"metrics file {file} cannot be read: {error}", field=file) from None
    leaves: dict[str, float] = {}
    _gather(values, "", leaves)
    return leaves


async def _verify(store: ArtifactStore, output: Output) -> None:
    digests = [output.digest]
    if output.kind == "directory":
        digests = [file.digest for file in parse_manifest(await store.get(output.digest))]
    for digest in digests:
        async for _ in store.stream(digest):
            pass


def _refuse_links(source: Path, path: str) -> None:
    inside = source.rglob("*") if source.is_dir() else ()
    for file in (source, *inside):
        if file.is_symlink():
            raise MissingOutputError(
                f"out {path} holds the link {file.name}; write the file itself"
            )


def _gather(value: object, name: str, leaves: dict[str, float]) -> None:
    if isinstance(value, dict):
        for key, below in value.items():
            _gather(below, f"{name}.{key}" if name else str(key), leaves)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            _gather(below, f"{name}.{index}", leaves)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        leaves[name or "value"] = float(value)
