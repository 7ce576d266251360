"""Several scorer processes behind one port: the kernel deals connections out among them.

Each is a replica of its own, with its own cache, records and reports; one that ends is started
again. Nothing passes between them and a client but the kernel.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import closing

import structlog

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.files.private import use_private_umask
from loopwright_common.observability import logs
from loopwright_common.process.subprocesses import die_with_parent
from loopwright_scorer.inference.prediction_ids import load_key
from loopwright_scorer.settings import ScorerSettings

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
_STEADY_SECONDS = 10.0
"""A worker that lived so long is started again without growing delay."""
_GRACE_SECONDS = 15.0
log = structlog.get_logger()


def run(settings: ScorerSettings) -> None:
    """Keep the workers running until told to stop.

    InvalidError or UnavailableError, before any has started, where they could not work.
    """
    use_private_umask()
    logs.configure(settings.log_level)
    if not settings.bus_url.startswith("kafka://"):
        raise InvalidError(
            f"LOOPWRIGHT_SCORER_WORKERS is {settings.workers}, and processes cannot share the bus"
            f" {settings.bus_url}; use one worker, or a bus at kafka://",
            field="workers",
        )
    _check_port(settings.host, settings.port, "PORT")
    _check_port(settings.host, settings.port_of_grpc, "GRPC_PORT")
    with settings.own_directory():
        asyncio.run(_supervise_all(settings))


async def _supervise_all(settings: ScorerSettings) -> None:
    stopping = asyncio.Event()
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(stop_signal, stopping.set)
    key = settings.prediction_key
    shared = key.get_secret_value() if key else load_key(settings.key_file).hex()
    async with asyncio.TaskGroup() as group:
        for number in range(settings.workers):
            group.create_task(_supervise(_variables(settings, number, shared), number, stopping))


async def _supervise(environment: Mapping[str, str], number: int, stopping: asyncio.Event) -> None:
    """Start the worker, and anew whenever it ends by itself."""
    pause = _FIRST_PAUSE
    loop = asyncio.get_running_loop()
    while not stopping.is_set():
        started = loop.time()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "loopwright_scorer.main"),
            env=environment,
            preexec_fn=die_with_parent,
        )
        await _first_of(process.wait(), stopping.wait())
        if stopping.is_set():
            await _end(process)
            return
        lived = loop.time() - started
        pause = _FIRST_PAUSE if lived > _STEADY_SECONDS else min(2 * pause, _LONGEST_PAUSE)
        log.error("worker.ended", worker=number, status=process.returncode, restart_in=pause)
        await _first_of(asyncio.sleep(pause), stopping.wait())


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let it answer what it was asked, and kill it when that takes too long."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _first_of(*waits: object) -> None:
    """Return when the first of them is over; the others are given up."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _variables(settings: ScorerSettings, number: int, key: str) -> dict[str, str]:
    own = {
        "WORKERS": "1",
        "WORKER": str(number),
        "REPLICA": f"{settings.replica_name}.{number}",
        "CACHE_DIR": str(settings.cache_dir.absolute() / f"worker-{number}"),
        "PREDICTION_KEY": key,
    }
    return {**os.environ, **{f"LOOPWRIGHT_SCORER_{name}": value for name, value in own.items()}}


def _check_port(host: str, port: int, setting: str) -> None:
    """Nobody else may listen there: a port that is shared would be shared with them too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {host}:{port}: {error.strerror}; free it or set"
                f" LOOPWRIGHT_SCORER_{setting}"
            ) from None
