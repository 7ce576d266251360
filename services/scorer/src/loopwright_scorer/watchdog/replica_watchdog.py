"""The watchdog of this process: started, kept alive, and what the last one of a crash left."""

import asyncio
import faulthandler
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import structlog

from loopwright_scorer.watchdog import quarantine_file
from loopwright_scorer.watchdog.computation_slots import ComputationSlots, read_slots

log = structlog.get_logger()
_BEAT_SECONDS = 0.5
_COMMAND = (sys.executable, "-P", "-m", "loopwright_scorer.watchdog.watchdog_main")
_CRASHED = "Fatal Python error: "
_THREAD = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)


class ReplicaWatchdog:
    """Another process that ends this one when a computation in it does harm.

    A crash is told by what `faulthandler` wrote of it, and blamed on what its thread computed.
    """

    def __init__(self, directory: Path, memory: int) -> None:
        """To be made by the thread of the event loop; `memory` in bytes."""
        self._quarantine = directory / "quarantine.jsonl"
        self._slots, crash = directory / "computing", directory / "crash.log"
        _blame_for_crash(crash, self._slots, self._quarantine)
        self._reasons = quarantine_file.read(self._quarantine)
        self.slots = ComputationSlots(self._slots)
        self._crash = crash.open("w")
        faulthandler.enable(self._crash)
        self._memory = memory
        self._process = self._start()

    def quarantine_reason(self, digest: str) -> str | None:
        """Why the package is computed in this process no more."""
        return self._reasons.get(digest)

    async def run(self) -> NoReturn:
        """Until cancelled: show that the loop comes round, and keep the watchdog running."""
        while True:
            self.slots.beat()
            if (status := self._process.poll()) is not None:
                log.error("watchdog.ended", status=status)
                self._process = self._start()
            await asyncio.sleep(_BEAT_SECONDS)

    def stop(self) -> None:
        faulthandler.disable()
        self._crash.close()
        self._process.terminate()
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = (os.getpid(), self._slots.resolve(), self._quarantine.resolve(), self._memory)
        return subprocess.Popen(
            [*_COMMAND, *map(str, arguments)], stdin=subprocess.PIPE, start_new_session=True
        )


def _blame_for_crash(crash: Path, slots: Path, quarantine: Path) -> None:
    """Quarantine what was computed where the last process crashed."""
    text = crash.read_text(errors="replace") if crash.exists() else ""
    if not text.startswith(_CRASHED):
        return
    how = text.splitlines()[0].removeprefix(_CRASHED)
    running = read_slots(slots).running
    if found := _THREAD.search(text):
        running = [one for one in running if one.ident == int(found[1], 16)]
    for one in running:
        log.error("package.crashed", digest=one.digest, how=how)
        quarantine_file.append(quarantine, one.digest, f"the scorer crashed meanwhile: {how}")
