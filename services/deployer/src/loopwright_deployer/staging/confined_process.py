"""A process that opens what others made: in the sandbox, with one directory and one question.

It sees its own directory and Python's packages, has nothing of our environment and no network; a
scorer answers on a socket that it was born with. What it says is read as data, and what it leaves
in its directory is taken only once it is dead, and only where it is plain files.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.files.beneath import Beneath, check_plain
from loopwright_common.files.removal import remove_tree
from loopwright_common.process.subprocesses import kill_group, start_session
from loopwright_common.sandbox import ran_out_of_memory
from loopwright_deployer.staging.confined_command import ConfinedCommand

_SETUP_FAILED = 125
_ENDING_SECONDS = 2.0
_LONGEST_LINE = 1 << 20


class TransientError(UnavailableError):
    """What a process needs for its job is out of reach: the same job may succeed later."""


class ConfinedProcess:
    """One process of a command; close it, and its directory is gone."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        directory: Path,
        listener: socket.socket | None,
        arguments: Sequence[str],
    ) -> None:
        self._process = process
        self._listener = listener
        self._arguments = arguments
        self.directory = directory
        """Empty at first, and the only one that the process may write to."""

    @classmethod
    async def start(cls, command: ConfinedCommand) -> "ConfinedProcess":
        """A process that has the sandbox around it before it runs anything."""
        directory = command.new_directory()
        listener = command.new_listener() if command.listens else None
        descriptors = [listener.fileno()] if listener else []
        with contextlib.ExitStack() as undone:
            undone.callback(remove_tree, directory)
            if listener:
                undone.callback(listener.close)
            arguments = command.sandbox.wrap(
                [*command.arguments, *map(str, descriptors)], command.policy(directory)
            )
            with command.log.open("ab") as sink:
                process = await start_session(
                    *arguments,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=sink,
                    cwd=directory,
                    env=command.environment(directory),
                    pass_fds=descriptors,
                    limit=_LONGEST_LINE,
                )
            undone.pop_all()
        return cls(process, directory, listener, arguments)

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @property
    def url(self) -> str:
        """Where one that listens answers over HTTP."""
        assert self._listener is not None  # noqa: S101  (whoever asks has started such a one)
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    async def ask(self, job: dict[str, Any], limit: float) -> Any:
        """Give it its one line and read its one answer.

        What lies in its directory is its own from now on. InvalidError with its own words when it
        refuses, TransientError when only for now; InvalidError that names the file it was opening
        when it dies or says nothing within `limit` seconds, and UnavailableError where the sandbox
        could not be set up.
        """
        await asyncio.to_thread(_hand_over, self.directory)
        opening = "the package"
        try:
            async with asyncio.timeout(limit):
                await self._send(job)
                while line := await self._process.stdout.readline():  # type: ignore[union-attr]
                    answer = json.loads(line)
                    if "opening" not in answer:
                        return _checked(answer)
                    opening = str(answer["opening"])
        except TimeoutError:
            raise InvalidError(f"{opening} was not open within {limit:g} s") from None
        except (ValueError, TypeError):
            raise InvalidError(f"{opening}: its process answers what is no answer") from None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _ENDING_SECONDS)
        await self.stop()
        status = self._process.returncode or 0
        if status == _SETUP_FAILED:
            raise UnavailableError("the sandbox could not be set up")
        how = _how(status)
        if ran_out_of_memory(self._arguments):
            how += ", out of memory: LOOPWRIGHT_DEPLOYER_STAGE_MEMORY"
        raise InvalidError(
            f"{opening} ended the process that opened it ({how}): the file is damaged, or"
            " needs more than a process may use; save the model anew and register it again"
        )

    async def stop(self) -> None:
        """Kill it with all that it started: it holds nothing but its directory."""
        kill_group(self._process.pid)
        await self._process.wait()

    async def close(self) -> None:
        """Stop it, and remove its directory."""
        await self.stop()
        if self._listener:
            self._listener.close()
        await asyncio.to_thread(remove_tree, self.directory)

    async def _send(self, job: dict[str, Any]) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  (it was asked for)
        with contextlib.suppress(ConnectionError):  # it died: its answer says so
            stdin.write(json.dumps(job).encode() + b"\n")
            await stdin.drain()


def require_plain_files(directory: Path) -> None:
    """InvalidError for anything but files and directories in what a dead process left."""
    with Beneath(directory) as opened:
        for path, found in opened.walk():
            check_plain(path, found)


def _hand_over(directory: Path) -> None:
    """Give what we put there to the user that the process runs as."""
    owner = directory.stat().st_uid
    if owner != os.geteuid():
        for path in directory.rglob("*"):
            os.chown(path, owner, owner, follow_symlinks=False)


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise (TransientError if answer.get("transient") else InvalidError)(str(answer["error"]))
    return answer


def _how(status: int) -> str:
    """A process in namespaces of its own tells a signal as 128 and its number."""
    number = -status if status < 0 else status - 128
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"status {status}"
