"""Step outputs: kept in the store by digest, checked whole, written back when needed."""

import asyncio
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from loopwright_common.errors import (
    CorruptError,
    InvalidError,
    LoopwrightError,
    NotFoundError,
    without_paths,
)
from loopwright_common.files.beneath import Beneath
from loopwright_common.names import has_control_characters, shown
from loopwright_common.storage import (
    ArtifactStore,
    fetch_package,
    parse_manifest,
    read_chunks,
    store_package,
)
from loopwright_trainer.pipelines.stage_order import inside
from loopwright_trainer.pipelines.yaml_source import load
from loopwright_trainer.runs.domain import Output

_LARGEST_METRICS = 1 << 20
_MOST_VALUES = 10_000
_LONGEST_NAME = 250


class MissingOutputError(LoopwrightError):
    """A command went well and did not write what its stage declares."""


def require_within(limit: int, workspace: Beneath, outs: Sequence[str]) -> None:
    """InvalidError where outputs, holes included, hold more bytes than a stage may write."""
    size = sum(
        found.st_size for path, found in workspace.walk() if any(inside(path, out) for out in outs)
    )
    if size > limit:
        raise InvalidError(
            f"outs hold {size >> 20} MiB, holes included, more than {limit >> 20} MiB, their limit "
            "(LOOPWRIGHT_TRAINER_STAGE_DISK)"
        )


async def store_output(store: ArtifactStore, workspace: Beneath, path: str) -> Output:
    """Keep an output; MissingOutputError when it is not there, InvalidError when it is a link."""
    try:
        if directory := workspace.directory(path):
            with directory:
                digest = await store_package(store, directory)
            return Output(path=path, kind="directory", digest=digest)
        with workspace.open(path) as file:
            blob = await store.put(read_chunks(file))
        return Output(path=path, kind="file", digest=blob.digest)
    except NotFoundError:
        raise MissingOutputError(f"declares out {path}, but the command did not write it") from None
    except InvalidError as error:
        raise InvalidError(f"out {path}: {error}", field=path) from None


async def read_metrics(workspace: Beneath, path: str) -> dict[str, float]:
    """Metrics that a stage wrote; MissingOutputError when they are not there.

    InvalidError when the file is a link, too large, or none of metrics.
    """
    try:
        with workspace.open(path) as file:
            content = await asyncio.to_thread(file.read, _LARGEST_METRICS + 1)
    except NotFoundError:
        raise MissingOutputError(
            f"declares metrics {path}, but the command did not write it"
        ) from None
    if len(content) > _LARGEST_METRICS:
        raise InvalidError(f"metrics file {path} is larger than 1 MB", field=path)
    return await asyncio.to_thread(numeric_leaves, content, path)


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
    """Metrics of a JSON or YAML file: finite numbers by dotted key; InvalidError for others."""
    leaves = {}
    try:
        values = json.loads(content) if file.endswith(".json") else load(content, file).value
        for number, (name, value) in enumerate(_nodes(values, "")):
            if number > _MOST_VALUES:  # aliases of YAML repeat what they name, without end
                raise InvalidError(
                    f"metrics file {file} holds over {_MOST_VALUES} values", field=file
                )
            _check_name(name, file)
            if isinstance(value, int | float) and not isinstance(value, bool):
                leaves[name or "value"] = float(value)
    except (ValueError, RecursionError, OverflowError) as error:
        raise InvalidError(
            f"metrics file {file} cannot be read: {without_paths(error)}", field=file
        ) from None
    return {name: value for name, value in leaves.items() if math.isfinite(value)}


def _check_name(name: str, file: str) -> None:
    """InvalidError for what no database, event or MLflow takes as the name of a metric."""
    if len(name) > _LONGEST_NAME or has_control_characters(name):
        raise InvalidError(
            f"metrics file {file}: {shown(name)} is no name of a metric; give it at most "
            f"{_LONGEST_NAME} characters that can be shown",
            field=file,
        )


async def _verify(store: ArtifactStore, output: Output) -> None:
    digests = [output.digest]
    if output.kind == "directory":
        digests = [file.digest for file in parse_manifest(await store.get(output.digest))]
    for digest in digests:
        async for _ in store.stream(digest):
            pass


def _nodes(value: object, name: str) -> Iterator[tuple[str, object]]:
    """The value and all that it holds, by dotted key."""
    yield name, value
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _nodes(below, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _nodes(below, f"{name}.{index}")
