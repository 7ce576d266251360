"""What every sandboxed command may read: the system's libraries, this Python and its packages."""

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
# No /etc as a whole: it holds passwords and keys.
_ETC = (
    "alternatives ca-certificates fonts group hosts host.conf ld.so.cache ld.so.conf ld.so.conf.d "
    "localtime magic mime.types nsswitch.conf passwd pki protocols services ssl/certs "
    "ssl/openssl.cnf timezone"
)
_NETWORK = ("/etc/resolv.conf", "/etc/gai.conf")
_PROCESSORS = ("/sys/devices/system/cpu", "/sys/devices/system/node")


@cache
def system_directories() -> tuple[Path, ...]:
    """Directories of the system, and links to them, as they are."""
    return tuple(Path(name) for name in _SYSTEM if os.path.lexists(name))


@cache
def shared_files(*, network: bool) -> tuple[Path, ...]:
    """Files of the system that libraries read."""
    etc = [f"/etc/{name}" for name in _ETC.split()]
    names = [*etc, *_PROCESSORS, *(_NETWORK if network else ())]
    return tuple(Path(name) for name in names if Path(name).exists())


@cache
def python_paths() -> tuple[Path, ...]:
    """This interpreter, its environment, and the directories that its packages come from.

    Asked from a new interpreter: this one may search its working directory, which may hold data.
    """
    asked = [sys.executable, "-I", "-B", "-c", "import sys; print('\\n'.join(sys.path))"]
    searched = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")
    directories = {sys.prefix, sys.base_prefix, *searched, *_interpreters()}
    existing = {p for name in directories if name for p in (name, os.path.realpath(name))}
    return _outermost(Path(name) for name in existing if os.path.exists(name))


def _interpreters() -> list[str]:
    """The directories that the links to the interpreter go through."""
    step, found = sys.executable, []
    while os.path.islink(step):
        step = os.path.normpath(os.path.join(os.path.dirname(step), os.readlink(step)))
        found.append(os.path.dirname(os.path.dirname(step)))
    return found


def _outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Those that are in no other, nor among the system's."""
    kept: list[Path] = list(system_directories())
    for path in sorted(paths):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return tuple(kept[len(system_directories()) :])
