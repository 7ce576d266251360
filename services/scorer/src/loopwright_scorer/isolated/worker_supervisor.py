"""The process of a package as the scorer sees it: started, asked, killed."""

import resource
import shutil
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

from loopwright_common.process.subprocesses import die_with_parent, kill_group
from loopwright_scorer.isolated import framing
from loopwright_scorer.isolated.environments import Place

_WORKER_MAIN = Path(__file__).with_name("worker_main.py")
_LARGEST_ANSWER = 128 << 20
_LAST_WORDS = 400
_PAGE = resource.getpagesize()
# A child dies with the thread that started it, so this one never ends before the process does.
_STARTER = ThreadPoolExecutor(1, "apart")

Arrays = Mapping[str, np.ndarray]


class ChildError(Exception):
    """The process ended, hung, or said what it must not; `reason` is one word for the metrics."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Told:
    """An answer; `error` when the model raised, `refused` when it blamed the rows."""

    head: dict[str, Any]
    arrays: Arrays

    @property
    def error(self) -> str | None:
        error = self.head.get("error")
        return None if error is None else str(error)

    @property
    def refused(self) -> bool:
        return bool(self.head.get("refused"))


class Child:
    """One process. Calls are one at a time; after a ChildError there is nothing left of it."""

    def __init__(self, place: Place, room: Path) -> None:
        """`room` is an empty directory, which goes with the process."""
        self._place = place
        self._room = room
        self._socket, theirs = socket.socketpair()
        try:
            self._process = _STARTER.submit(_start, place, room, theirs).result()
        except BaseException:
            self._socket.close()
            self._clear()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, frame: bytes, seconds: float) -> Told:
        """ChildError, and the end of the process, unless a frame comes back in time."""
        deadline = time.monotonic() + seconds
        try:
            self._send(frame, deadline)
            return Told(*framing.receive(lambda n: self._take(n, deadline), _LARGEST_ANSWER))
        except TimeoutError:
            self.close()
            raise ChildError("hung", f"it did not answer within {seconds:g} s") from None
        except framing.FrameError as error:
            self.close()
            raise ChildError("broken", f"its process answered what is no answer: {error}") from None
        except OSError:
            words = self._last_words()
            raise ChildError("died", f"its process ended{words}") from None

    def send(self, frame: bytes, seconds: float) -> None:
        """What is not answered by itself."""
        with suppress(OSError):
            self._send(frame, time.monotonic() + seconds)

    def close(self) -> None:
        """End it, and all that it started, where it cannot leave its session."""
        if self._process.returncode is None:  # else the number may be another's by now
            kill_group(self._process.pid)
        self._socket.close()
        self._process.wait()
        self._clear()

    def memory(self) -> int:
        """Resident bytes, of the process and those right below it."""
        return sum(map(_resident, [self.pid, *_children(self.pid)]))

    def _send(self, frame: bytes, deadline: float) -> None:
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        self._socket.sendall(frame)

    def _take(self, size: int, deadline: float) -> bytearray:
        taken = bytearray()
        while len(taken) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            part = self._socket.recv(min(size - len(taken), 1 << 20))
            if not part:
                raise ConnectionError
            taken += part
        return taken

    def _last_words(self) -> str:
        kill_group(self._process.pid)
        status = self._process.wait()
        how = f" by signal {-status}" if status < 0 else f" with status {status}"
        log = self._room / "words.log"
        said = log.read_bytes()[-_LAST_WORDS:].decode(errors="replace").strip().splitlines()
        self.close()
        return f"{how}: {said[-1]}" if said else how

    def _clear(self) -> None:
        self._place.leave()
        shutil.rmtree(self._room, ignore_errors=True)


def _start(place: Place, room: Path, theirs: socket.socket) -> subprocess.Popen[bytes]:
    work = room / "work"
    work.mkdir()
    with (room / "words.log").open("ab") as words:
        return subprocess.Popen(
            [
                str(place.python),
                "-I",
                "-B",
                "-W",
                "ignore",
                str(_WORKER_MAIN),
                str(theirs.fileno()),
            ],
            cwd=work,
            env=_environment(work),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls into libc and does nothing else
        )


def _environment(work: Path) -> dict[str, str]:
    """Nothing of the scorer's: its environment holds its secrets."""
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
