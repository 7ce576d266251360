"""A program: how to start it, how it says that it is up, and how to ask it to end."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loopwright_common.errors import UnavailableError
from loopwright_common.process import subprocesses

_START_SECONDS = 180.0
_STOP_SECONDS = 10.0
_IMPORTING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Program:
    """What it takes to run something beside this process; `log` gets all that it prints."""

    name: str
    command: tuple[str, ...]
    directory: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    up: bytes = b""
    """What it logs once it accepts clients; empty when it is to be asked instead."""
    stop: signal.Signals = signal.SIGTERM
    user: str | None = None

    def said(self) -> int:
        """How long its log is."""
        return self.log.stat().st_size if self.log.exists() else 0

    def is_up(self, said_before: int) -> bool:
        """Whether it said so since its log was that long."""
        if not self.log.exists():
            return False
        with self.log.open("rb") as log:
            log.seek(said_before)
            return self.up in log.read()

    def last_words(self, lines: int = 15) -> str:
        kept = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"the log {self.log} ends with", *kept[-lines:]])


class RunningProgram:
    """A program as a child that never outlives this process, for callers without an event loop."""

    def __init__(self, program: Program) -> None:
        """Return once it is up; UnavailableError with its last words if it does not come up."""
        self._program = program
        said_before = program.said()
        with program.log.open("ab") as log:
            self._process = subprocess.Popen(
                program.command,
                cwd=program.directory,
                env=dict(program.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **subprocesses.as_user(program.user),
                preexec_fn=subprocesses.die_with_parent,  # noqa: PLW1509  (prctl takes no lock)
            )
        self._await_start(said_before)

    def kill(self) -> None:
        """As by kill -9."""
        subprocesses.kill_group(self._process.pid)
        self._process.wait()

    def stop(self) -> None:
        """Ask first, then kill."""
        self._process.send_signal(self._program.stop)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _await_start(self, said_before: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._program.is_up(said_before):
                return
            time.sleep(0.05)
        self.kill()
        name = self._program.name
        raise UnavailableError(f"{name} did not start; {self._program.last_words()}")


@contextmanager
def quietly() -> Generator[None, None, None]:
    """Import without the warnings of others, which are no user's concern; one thread at a time."""
    with _IMPORTING, warnings.catch_warnings(action="ignore"):
        yield


def require(module: str) -> None:
    """UnavailableError with the command that installs it, when a package of an engine is absent."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise UnavailableError(
            f"{module} is not installed; run "
            f"`{sys.executable} -m pip install 'loopwright[engines]'`"
        )


class StandaloneEngine:
    """An engine that a test or a benchmark runs by itself, without anything that restarts it."""

    _running: RunningProgram | None = None

    def program(self) -> Program:
        raise NotImplementedError

    def start(self) -> None:
        """Return once it accepts clients; UnavailableError with its last words if it does not."""
        self._running = RunningProgram(self.program())

    def kill(self) -> None:
        """As by kill -9."""
        if self._running:
            self._running.kill()

    def stop(self) -> None:
        """Ask first, then kill."""
        if self._running:
            self._running.stop()
