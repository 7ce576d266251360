"""Captured rows of a model, as recorded calls: found by an event, fetched by digest, read confined.

All of it is bounded, and whatever is slow, damaged or too large is set aside with its reason: it
stops no deployment.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loopwright_common.bus import TableReader
from loopwright_common.errors import (
    InvalidError,
    LoopwrightError,
    TooLargeError,
    without_paths,
)
from loopwright_common.events import RowsCaptured
from loopwright_common.storage import ArtifactStore
from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.confined_process import ConfinedProcess, require_plain_files
from loopwright_deployer.staging.evaluation.recorded_calls import InputTypes, RecordedCalls
from loopwright_deployer.staging.warm_processes import CAPTURED_READER

_FETCHING_SECONDS = 10.0
_READING_SECONDS = 60.0
_READY_SECONDS = 5.0
_AT_ONCE = 8
_LARGEST_OBJECT = 8 << 20
_MOST_BYTES = 64 << 20
"""Of all objects together."""
_LARGEST_RESULT = 256 << 20


@dataclass(slots=True)
class _Fetched:
    """Objects of the store as files, in the order asked for, and why others are not among them."""

    paths: dict[str, Path]
    set_aside: list[str]


class CapturedRows:
    """What the monitor has captured, by what it says of it."""

    def __init__(
        self, store: ArtifactStore, told: TableReader[RowsCaptured], command: ConfinedCommand
    ) -> None:
        """`told` is run by the caller; `command` says how the reader is confined."""
        self._store = store
        self._told = told
        self._command = replace(command, arguments=CAPTURED_READER, listens=False)

    async def read(self, model_id: str, inputs: InputTypes) -> RecordedCalls:
        """The newest recorded calls of a model, with those of the `inputs` that were recorded.

        UnavailableError where the sandbox cannot be set up.
        """
        try:
            await asyncio.wait_for(self._told.ready.wait(), _READY_SECONDS)
        except TimeoutError:
            return RecordedCalls([], ["what is captured could not be learnt from the bus in time"])
        event = self._told.rows.get(model_id)
        if event is None:
            return RecordedCalls([])
        process = await ConfinedProcess.start(self._command)
        try:
            files = await self._fetch(process.directory, [each.digest for each in event.data.files])
            found, wanted = await _read(process, files, _Fetched({}, []), inputs)
        finally:
            await process.close()
        digests = list(files.paths)
        return await self._read_with_objects(digests, wanted, inputs) if wanted else found

    async def _read_with_objects(
        self, digests: Sequence[str], wanted: Sequence[str], inputs: InputTypes
    ) -> RecordedCalls:
        """The calls once more, with the large inputs; a process answers one question only."""
        process = await ConfinedProcess.start(self._command)
        try:
            files = await self._fetch(process.directory, digests)
            arrays = await self._fetch(process.directory, wanted)
            found, _ = await _read(process, files, arrays, inputs)
        finally:
            await process.close()
        return found

    async def _fetch(self, directory: Path, digests: Sequence[str]) -> _Fetched:
        turns = asyncio.Semaphore(_AT_ONCE)
        left = _MOST_BYTES

        async def fetch(digest: str) -> Path:
            nonlocal left
            async with turns:
                if left <= 0:
                    raise TooLargeError(f"beyond {_MOST_BYTES} bytes of newer ones")
                path = directory / digest.removeprefix("sha256:")
                left -= await _fetch_one(self._store, digest, path)
                return path

        tasks = {each: asyncio.create_task(fetch(each)) for each in dict.fromkeys(digests)}
        if not tasks:
            return _Fetched({}, [])
        try:
            await asyncio.wait(tasks.values(), timeout=_FETCHING_SECONDS)
        finally:
            for task in tasks.values():
                task.cancel()
        outcomes = await asyncio.gather(*tasks.values(), return_exceptions=True)
        return _sorted(dict(zip(tasks, outcomes, strict=True)))


def _sorted(outcomes: Mapping[str, Path | BaseException]) -> _Fetched:
    """What is there and what is not; a fault that is none of the store's is raised."""
    fetched = _Fetched({}, [])
    for digest, outcome in outcomes.items():
        if isinstance(outcome, Path):
            fetched.paths[digest] = outcome
        elif isinstance(outcome, asyncio.CancelledError):
            fetched.set_aside.append(f"{digest}: not there within {_FETCHING_SECONDS:g} s")
        elif isinstance(outcome, LoopwrightError | OSError):
            fetched.set_aside.append(f"{digest}: {without_paths(outcome)}")
        else:
            raise outcome
    return fetched


async def _fetch_one(store: ArtifactStore, digest: str, target: Path) -> int:
    """The verified object in a file, and its bytes; TooLargeError beyond the limit for one."""
    size = 0
    with target.open("wb") as file:
        async for chunk in store.stream(digest):
            size += len(chunk)
            if size > _LARGEST_OBJECT:
                raise TooLargeError(f"more than {_LARGEST_OBJECT} bytes")
            await asyncio.to_thread(file.write, chunk)
    return size


async def _read(
    process: ConfinedProcess, files: _Fetched, arrays: _Fetched, inputs: InputTypes
) -> tuple[RecordedCalls, list[str]]:
    """What the process reads, and the digests of large inputs that it needs to go on."""
    set_aside = [*files.set_aside, *arrays.set_aside]
    result = process.directory / "result.json"
    job: dict[str, Any] = {
        "files": {digest: str(path) for digest, path in files.paths.items()},
        "arrays": {digest: str(path) for digest, path in arrays.paths.items()},
        "inputs": inputs,
        "result": str(result),
    }
    try:
        answer = await process.ask(job, _READING_SECONDS)
        wanted = [str(digest) for digest in answer["wanted"]]
        await process.stop()
        found = await asyncio.to_thread(_read_result, process.directory, result)
    except (InvalidError, LookupError, ValueError, TypeError, OSError) as error:
        return RecordedCalls(
            [], [*set_aside, f"the rows were not read: {without_paths(error)}"]
        ), []
    return replace(found, set_aside=[*set_aside, *found.set_aside]), wanted


def _read_result(directory: Path, result: Path) -> RecordedCalls:
    require_plain_files(directory)
    if result.stat().st_size > _LARGEST_RESULT:
        raise InvalidError(f"they take more than {_LARGEST_RESULT} bytes as JSON")
    return RecordedCalls.of(json.loads(result.read_bytes()))
