"""A command of ours that opens what others made, and what it may reach while it does."""

import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loopwright_common.sandbox import Limits, Policy, Sandbox

_HOST = "127.0.0.1"
_LARGEST_FILE = 8 << 30
_PASSED_ON = ("LOOPWRIGHT_DEPLOYER_TRUSTED_TYPES",)


@dataclass(frozen=True, slots=True)
class ConfinedCommand:
    """What is started, and how far it is kept from everything else.

    `directory` is where each process has one of its own, `readable` what all may read; one that
    `listens` gets the descriptor of a socket as its last argument.
    """

    arguments: Sequence[str]
    sandbox: Sandbox
    directory: Path
    log: Path
    memory: int
    """Bytes of address space of each process, and of what all of them take together."""
    readable: tuple[Path, ...] = ()
    listens: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the environment, beside what every process has."""

    def new_directory(self) -> Path:
        """An empty one, for one process."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self.directory)).resolve()

    def new_listener(self) -> socket.socket:
        """A socket of ours, so that a process without a network can accept calls of ours."""
        listener = socket.create_server((_HOST, 0), backlog=128)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener

    def policy(self, directory: Path) -> Policy:
        """What a process with this directory may reach."""
        return Policy(
            readable=self.readable,
            writable=(directory,),
            limits=Limits(memory=self.memory, total_memory=self.memory, file_bytes=_LARGEST_FILE),
            own_user=True,
        )

    def environment(self, directory: Path) -> dict[str, str]:
        """The variables of a process; nothing of ours but the types that are trusted."""
        single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        home = {"HOME": str(directory), "TMPDIR": str(directory)}
        path = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        return {**path, **home, **single, **passed, **self.variables}
