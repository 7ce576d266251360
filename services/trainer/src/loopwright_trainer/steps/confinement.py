"""What the commands of stages and checks are kept to on this trainer."""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from loopwright_common.sandbox import Gateway, Limits, Policy, Sandbox

_OPEN_FILES = 4096
_SECONDS_BETWEEN_LOOKS = 1.0
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


async def disk_is_exceeded(limit: int, *paths: Path) -> None:
    """Return once the paths hold more than `limit` bytes.

    They are added up only while their file system has lost as much since.
    """
    free = shutil.disk_usage(paths[0]).free
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        if free - shutil.disk_usage(paths[0]).free < limit:
            continue
        if await asyncio.to_thread(lambda: sum(map(_bytes_in, paths))) > limit:
            return


def _bytes_in(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_blocks * 512
    found = 0
    for _, directories, files, opened in os.fwalk(path, onerror=None):
        for name in (*directories, *files):
            try:
                found += os.stat(name, dir_fd=opened, follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
    return found


def _passed_on() -> list[Path]:
    """Paths in the variables that stages are given, which have to be readable then."""
    named = [path for name in _PATHS for path in os.environ.get(name, "").split(":") if path]
    return [Path(path).resolve() for path in named if Path(path).exists()]
