"""The process of a package as the scorer sees it: started, asked, killed."""

import resource
import socket
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loopwright_common.errors import without_paths
from loopwright_common.files.removal import remove_tree
from loopwright_common.process.subprocesses import die_with_parent, kill_group
from loopwright_common.sandbox import Limits, Policy, Sandbox, ran_out_of_memory
from loopwright_scorer.isolated import framing
from loopwright_scorer.isolated.environments import EnvironmentLease

_WORKER_MAIN = Path(__file__).with_name("worker_main.py")
_LARGEST_ANSWER = 128 << 20
_OUTPUT_TAIL = 400
_PAGE = resource.getpagesize()
# A child dies with the thread that started it, so this one never ends before the process does.
_STARTER = ThreadPoolExecutor(1, "isolated")

Arrays = Mapping[str, np.ndarray]
_HARM = {
    "hung": "its process did not answer in time",
    "died": "its process ended amid a call",
    "memory": "its process took all the memory that it may have",
    "broken": "its process answered what is no answer",
}
_PYTHON_OPTIONS = ("-I", "-B", "-W", "ignore")
_SIGNALLED = 128
_ENDING_SECONDS = 2.0
_LARGEST_FILE = 64 << 20
_OPEN_FILES = 256
_PROCESSES = 64


@dataclass(frozen=True, slots=True)
class Confinement:
    """How far a package's process is kept from everything else."""

    sandbox: Sandbox
    readable: tuple[Path, ...]
    memory: int
    """Bytes of address space of each process, and of what all of them take together."""


class WorkerError(Exception):
    """The process ended, hung, or broke the protocol; `reason` is one word for metrics."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def harm(self) -> str | None:
        """What the package did, without anything that it was given or said; None if that is old."""
        return _HARM.get(self.reason)


@dataclass(frozen=True, slots=True)
class WorkerResponse:
    """An answer; `error` when the model raised, `refused` when it blamed the rows."""

    head: dict[str, Any]
    arrays: Arrays

    @property
    def error(self) -> str | None:
        error = self.head.get("error")
        return None if error is None else without_paths(str(error))

    @property
    def refused(self) -> bool:
        return bool(self.head.get("refused"))


class WorkerProcess:
    """One process of a package. It answers one call at a time; a WorkerError ends it."""

    def __init__(
        self, environment: EnvironmentLease, directory: Path, confined: Confinement
    ) -> None:
        """`directory` is empty, and deleted with the process."""
        self._environment = environment
        self._directory = directory
        self._socket, theirs = socket.socketpair()
        try:
            self._process = _STARTER.submit(
                _start, environment, directory, theirs, confined
            ).result()
        except BaseException:
            self._socket.close()
            self._clear()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, frame: bytes, timeout: float) -> WorkerResponse:
        """The answer to a frame, within `timeout` seconds.

        Raises WorkerError, and ends the process, unless a frame comes back in time.
        """
        deadline = time.monotonic() + timeout
        try:
            self._send(frame, deadline)
            return WorkerResponse(
                *framing.receive(lambda n: self._read(n, deadline), _LARGEST_ANSWER)
            )
        except TimeoutError:
            self.close()
            raise WorkerError("hung", f"it did not answer within {timeout:g} s") from None
        except framing.FrameError as error:
            self.close()
            raise WorkerError(
                "broken", f"its process answered what is no answer: {error}"
            ) from None
        except OSError:
            how = self._how_it_ended()
            if self._ran_out_of_memory():
                message = f"its process ran out of memory, and ended{how}"
                raise WorkerError("memory", message) from None
            raise WorkerError("died", f"its process ended{how}") from None

    def send(self, frame: bytes, timeout: float) -> None:
        """Send a frame that is not answered by itself."""
        with suppress(OSError):
            self._send(frame, time.monotonic() + timeout)

    def close(self) -> None:
        """End it, and all that it started, where it cannot leave its session."""
        if self._process.returncode is None:  # else the number may be another's by now
            kill_group(self._process.pid)
        self._socket.close()
        self._process.wait()
        self._clear()

    def memory(self) -> int:
        """Resident bytes, of the process and those below it."""
        pids = [self.pid]
        for pid in pids:  # which grows meanwhile
            pids += _children(pid)
        return sum(map(_resident, pids))

    def _send(self, frame: bytes, deadline: float) -> None:
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        self._socket.sendall(frame)

    def _read(self, size: int, deadline: float) -> bytearray:
        received = bytearray()
        while len(received) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            part = self._socket.recv(min(size - len(received), 1 << 20))
            if not part:
                raise ConnectionError
            received += part
        return received

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_SECONDS)  # what is around it tells its status
        kill_group(self._process.pid)
        status = self._process.wait()
        # In namespaces of its own a signal is told as 128 and its number.
        by_signal = status < 0 or status > _SIGNALLED
        how = f" by signal {abs(status) % _SIGNALLED}" if by_signal else f" with status {status}"
        log = self._directory / "output.log"
        output = log.read_bytes()[-_OUTPUT_TAIL:].decode(errors="replace").strip().splitlines()
        self.close()
        return f"{how}: {output[-1]}" if output else how

    def _ran_out_of_memory(self) -> bool:
        arguments = self._process.args
        return isinstance(arguments, list) and ran_out_of_memory(arguments)

    def _clear(self) -> None:
        self._environment.release()
        remove_tree(self._directory)


def _start(
    environment: EnvironmentLease, directory: Path, theirs: socket.socket, confined: Confinement
) -> subprocess.Popen[bytes]:
    work = (directory / "work").resolve()
    work.mkdir()
    command = (*_PYTHON_OPTIONS, str(_WORKER_MAIN), str(theirs.fileno()))
    policy = Policy(
        readable=(*environment.paths, _WORKER_MAIN.parent, *confined.readable),
        writable=(work,),
        limits=Limits(
            memory=confined.memory,
            total_memory=confined.memory,
            processes=_PROCESSES,
            file_bytes=_LARGEST_FILE,
            open_files=_OPEN_FILES,
        ),
        own_user=True,
    )
    with (directory / "output.log").open("ab") as output:
        return subprocess.Popen(
            confined.sandbox.wrap([str(environment.python), *command], policy),
            cwd=work,
            env=_variables(work),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls into libc and does nothing else
        )


def _variables(work: Path) -> dict[str, str]:
    """Environment variables without the scorer's, which hold its secrets."""
    single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    here = str(work)
    return {"PATH": "/usr/bin:/bin", "HOME": here, "TMPDIR": here, "LANG": "C.UTF-8", **single}


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
