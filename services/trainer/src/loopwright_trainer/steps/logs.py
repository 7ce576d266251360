"""What stages print: beside the trainer that runs them, and in the store once they have ended."""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

import structlog

from loopwright_common.errors import CorruptError, NotFoundError, UnavailableError
from loopwright_common.storage import ArtifactStore
from loopwright_trainer.runs.domain import StageRun, StageState
from loopwright_trainer.steps.step import RunDirectory

HOST = socket.gethostname()
_MAX_BYTES = 4 << 20
log = structlog.get_logger()


async def store_logs(
    store: ArtifactStore, directory: RunDirectory, row: StageRun
) -> Mapping[str, str]:
    """The row's `logs` with those that lie here; a store that is away does not matter."""
    logs = dict(row.logs)
    for attempt in range(1, row.attempts + 1):
        path = directory.log(row.ordinal, attempt)
        if str(attempt) in logs or not path.exists():
            continue
        try:
            logs[str(attempt)] = (await store.put(await asyncio.to_thread(_end_of, path))).digest
        except UnavailableError as error:
            log.warning("stage-log.not-kept", run=row.run_id, stage=row.name, error=str(error))
    return logs


async def read(
    store: ArtifactStore, directory: RunDirectory, row: StageRun, attempt: int | None
) -> str:
    """The end of what an attempt (by default the last) printed so far, or where it can be read."""
    number = attempt or row.attempts
    if digest := row.logs.get(str(number)):
        try:
            return (await store.get(digest)).decode(errors="replace")
        except (NotFoundError, CorruptError) as error:
            return f"(the log of {row.name} cannot be read: {error})\n"
    path = directory.log(row.ordinal, number)
    if path.exists():
        return (await asyncio.to_thread(_end_of, path)).decode(errors="replace")
    if row.state is StageState.RUNNING and number == row.attempts:
        return f"({row.name} runs on {row.host}; its log can be read here once it has ended)\n"
    return ""


async def tail(
    store: ArtifactStore, directory: RunDirectory, row: StageRun, lines: int = 20
) -> str:
    """The last lines of the last attempt, for a person."""
    printed = await read(store, directory, row, None)
    return "\n".join(printed[-20_000:].splitlines()[-lines:])


def _end_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_BYTES))
        return file.read()
