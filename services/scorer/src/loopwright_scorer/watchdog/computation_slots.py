"""Who computes in a scorer's process, in a file that its watchdog reads. Standard library only.

A slot is a turn (0 while nothing is computed), the milliseconds that the computation may take, its
thread by both of its numbers, and the digest of the package. The first slot is the event loop's;
the last has the number of times that the loop came round.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOOP_SECONDS = 2.0
"""How long one computation may hold the event loop; it is expected to take milliseconds."""
_SLOTS = 160
_SLOT_BYTES = 64
_WORDS = _SLOT_BYTES // 8
_TURN, _ALLOWED, _IDENT, _NATIVE = range(4)
_DIGEST_AT, _DIGEST_BYTES = 32, 32
_BEATS = (_SLOTS - 1) * _WORDS


@dataclass(frozen=True)
class Computation:
    """One that goes on; seen twice it is equal."""

    turn: int
    allowed: float
    """Seconds that it may take."""
    ident: int
    """The thread's number in Python, as in a traceback."""
    native: int
    """The thread's number in the system."""
    digest: str


@dataclass(frozen=True)
class Snapshot:
    """What the file says: how often the loop came round, and what goes on."""

    beats: int
    running: Sequence[Computation]


class ComputationSlots:
    """The slots of this process, all empty; made by the thread of the event loop."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_SLOTS * _SLOT_BYTES))
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), 0)
        self._words = memoryview(self._bytes).cast("Q")
        self._free = list(range(_SLOTS - 2, 0, -1))
        self._lock = threading.Lock()
        self._turn = 0
        self._on_loop: bytes | None = None
        self._write(0, bytes(_DIGEST_BYTES), LOOP_SECONDS)

    def beat(self) -> None:
        """The event loop has come round."""
        self._words[_BEATS] += 1

    def begin_on_loop(self, digest: bytes) -> None:
        """The event loop computes; called for every answer, so it does next to nothing."""
        if self._on_loop is not digest:
            self._bytes[_DIGEST_AT : _DIGEST_AT + _DIGEST_BYTES] = digest
            self._on_loop = digest
        self._turn = turn = self._turn + 1
        self._words[_TURN] = turn

    def end_on_loop(self) -> None:
        self._words[_TURN] = 0

    @contextmanager
    def in_thread(self, digest: bytes, allowed: float) -> Iterator[None]:
        """Meanwhile this thread computes or opens the package, for at most `allowed` seconds."""
        with self._lock:
            slot = self._free.pop()
            self._turn = turn = self._turn + 1
        self._write(slot, digest, allowed)
        self._words[slot * _WORDS + _TURN] = turn
        try:
            yield
        finally:
            self._words[slot * _WORDS + _TURN] = 0
            with self._lock:
                self._free.append(slot)

    def _write(self, slot: int, digest: bytes, allowed: float) -> None:
        at = slot * _SLOT_BYTES + _DIGEST_AT
        self._bytes[at : at + _DIGEST_BYTES] = digest
        self._words[slot * _WORDS + _ALLOWED] = int(allowed * 1000)
        self._words[slot * _WORDS + _IDENT] = threading.get_ident()
        self._words[slot * _WORDS + _NATIVE] = threading.get_native_id()


def read_slots(path: Path) -> Snapshot:
    """What goes on in the process that writes the file; nothing where there is no file."""
    content = path.read_bytes() if path.exists() else b""
    if len(content) != _SLOTS * _SLOT_BYTES:
        return Snapshot(0, [])
    words = memoryview(content).cast("Q")
    busy = (slot for slot in range(_SLOTS - 1) if words[slot * _WORDS + _TURN])
    return Snapshot(words[_BEATS], [_computation(content, words, slot) for slot in busy])


def _computation(content: bytes, words: memoryview, slot: int) -> Computation:
    turn, allowed, ident, native = words[slot * _WORDS : slot * _WORDS + _WORDS // 2]
    at = slot * _SLOT_BYTES + _DIGEST_AT
    digest = content[at : at + _DIGEST_BYTES].hex()
    return Computation(turn, allowed / 1000, ident, native, f"sha256:{digest}")
