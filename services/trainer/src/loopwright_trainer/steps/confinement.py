"""What the commands of stages and checks are kept to on this trainer."""

import asyncio
import itertools
import math
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from loopwright_common.sandbox import Gateway, Limits, Policy, Sandbox

_OPEN_FILES = 4096
_SECONDS_BETWEEN_LOOKS = 1.0
_LOOKS_AT_MOST_SKIPPED = 10
_DEEPEST = 128
PASSED_ON = ("LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")
_PATHS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfinement:
    """The sandbox with its limits in bytes, and paths for all stages beside each one's own."""

    sandbox: Sandbox
    memory: int
    processes: int
    disk: int
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()

    def policy(self, workspace: Path, gateway: Gateway | None) -> Policy:
        """For a command that works below `workspace`, which nothing else does."""
        limits = Limits(
            memory=self.memory,
            total_memory=self.memory,
            processes=self.processes,
            file_bytes=self.disk,
            open_files=_OPEN_FILES,
        )
        return Policy(
            readable=(*self.readable, *_passed_on()),
            writable=(workspace,),
            shared=self.writable,
            gateway=gateway,
            limits=limits,
            own_user=True,
        )


async def disk_is_exceeded(limit: int, process: int, *paths: Path) -> None:
    """Return once the paths, and files without a name that the process holds, exceed the limit.

    They are added up while their file system has lost as much since, and now and then all the same,
    as others may have freed as much.
    """
    free = shutil.disk_usage(paths[0]).free
    for look in itertools.count(1):
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        if free - shutil.disk_usage(paths[0]).free < limit and look % _LOOKS_AT_MOST_SKIPPED:
            continue
        if await asyncio.to_thread(lambda: _bytes_written(process, paths)) > limit:
            return


def _bytes_written(process: int, paths: Sequence[Path]) -> float:
    return sum(map(_bytes_in, paths)) + _nameless_bytes(process, paths[0].stat().st_dev)


def _bytes_in(path: Path) -> float:
    """What lies at the path; without end where it is deeper than any workspace need be."""
    if not path.is_dir():
        return path.stat().st_blocks * 512
    found = 0
    for folder, directories, files, opened in os.fwalk(path, onerror=None):
        if len(Path(folder).parts) - len(path.parts) > _DEEPEST:
            return math.inf
        for name in (*directories, *files):
            with suppress(FileNotFoundError):
                found += os.stat(name, dir_fd=opened, follow_symlinks=False).st_blocks * 512
    return found


def _nameless_bytes(process: int, device: int) -> int:
    """What files hold that a process or a child of it has open on the device, and removed."""
    held: dict[int, int] = {}
    with suppress(psutil.Error):
        root = psutil.Process(process)
        for each in (root, *root.children(recursive=True)):
            with suppress(OSError):
                for opened in os.scandir(f"/proc/{each.pid}/fd"):
                    with suppress(OSError):
                        found = opened.stat()
                        if found.st_dev == device and not found.st_nlink:
                            held[found.st_ino] = found.st_blocks * 512
    return sum(held.values())


def _passed_on() -> list[Path]:
    """Paths in the variables that stages are given, which have to be readable then."""
    named = [path for name in _PATHS for path in os.environ.get(name, "").split(":") if path]
    return [Path(path).resolve() for path in named if Path(path).exists()]
