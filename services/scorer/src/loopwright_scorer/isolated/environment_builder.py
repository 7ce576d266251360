"""Builds virtual environments with uv; an unreachable index is told from one that refuses."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from loopwright_common.egress.guard import EgressGuard
from loopwright_common.egress.index_access import SETTING, IndexAccess, is_for_uv
from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.files.removal import remove_tree
from loopwright_common.sandbox import (
    Gateway,
    Limits,
    Policy,
    Sandbox,
    ran_out_of_memory,
    receive_listener,
)

_BUILD_SECONDS = 240
MEMORY = 4 << 30
"""Bytes of address space of uv and of each process that it starts, and of memory of all of them."""
_UV_OUTPUT = 1200
# The exit status does not tell: it is 2 for some of what an index refuses, too.
_UNREACHABLE = (
    "error sending request for url",
    "error decoding response body for url",
    "HTTP status server error",
    "429 Too Many Requests",
    "408 Request Timeout",
)


def build_environment(
    target: Path,
    requirements: Sequence[str],
    python: str,
    sandbox: Sandbox,
    access: IndexAccess,
) -> None:
    """Build an environment at `target`, of wheels only, so that building runs no code of anybody's.

    uv reads what an index hands out, sees nothing but this directory, and reaches nothing but what
    the access allows. Raises InvalidError that names the requirement that cannot be had, or the
    host that may not be reached, and UnavailableError while no package index can be reached.
    """
    temporary = target.with_suffix(".building")
    remove_tree(temporary)
    requirements_file = temporary.with_suffix(".txt")
    requirements_file.write_text("\n".join(requirements) + "\n")
    into = str(temporary / "bin" / "python")
    install = ("pip", "install", "--python", into, "--only-binary", ":all:", "--compile-bytecode")
    uv = _Uv(sandbox, target.parent, access)
    try:
        uv.run(
            "venv", "--quiet", "--no-project", "--python", python, "--relocatable", str(temporary)
        )
        uv.run(*install, "--quiet", "--requirements", str(requirements_file))
        temporary.rename(target)
    finally:
        remove_tree(temporary)
        requirements_file.unlink(missing_ok=True)


class _Uv:
    """uv with all that it writes in one directory, and of our environment what is meant for it.

    It has no network: it asks others through a guard, of which it is told as of a proxy.
    """

    def __init__(self, sandbox: Sandbox, directory: Path, access: IndexAccess) -> None:
        import uv

        self._command = uv.find_uv_bin()
        self._sandbox = sandbox
        self._rules = access.rules(os.environ)
        self._policy = Policy(
            readable=(Path(self._command).resolve(), *_named_paths(), *_interpreters()),
            writable=(directory,),
            limits=Limits(memory=MEMORY, total_memory=MEMORY),
        )
        uv_settings = {name: value for name, value in os.environ.items() if is_for_uv(name)}
        own = directory / ".uv"
        own.mkdir(exist_ok=True)
        self._variables = {
            **uv_settings,
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(own),
            "TMPDIR": str(own),
            "UV_NO_CONFIG": "1",  # nothing but its variables counts, wherever we were started
            "UV_CACHE_DIR": str(own / "cache"),
            "UV_PYTHON_INSTALL_DIR": str(own / "python"),
        }

    def run(self, *arguments: str) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                command = self._command_line(arguments, theirs.fileno())
                process = self._start(command, theirs.fileno())
            with process:
                try:
                    with EgressGuard(self._rules, _listener(ours, process)) as guard:
                        _, errors = process.communicate(timeout=_BUILD_SECONDS)
                except subprocess.TimeoutExpired:
                    raise UnavailableError(
                        f"the package's environment was not built within {_BUILD_SECONDS} s;"
                        " what uv has downloaded is kept"
                    ) from None
                finally:
                    process.kill()
        if process.returncode and ran_out_of_memory(command):
            raise InvalidError(
                "the package's environment cannot be built: uv ran out of memory, of which it may "
                f"have {MEMORY >> 20} MiB"
            )
        if process.returncode:
            raise _failure(errors.decode(errors="replace").strip(), guard)

    def _command_line(self, arguments: Sequence[str], gateway: int) -> list[str]:
        policy = replace(self._policy, gateway=Gateway("ALL_PROXY", gateway, "socks5h"))
        return self._sandbox.wrap([self._command, *arguments], policy)

    def _start(self, command: Sequence[str], gateway: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[gateway],
            umask=0o022,  # other users of ours run on it
        )


def _listener(ours: socket.socket, process: subprocess.Popen[bytes]) -> socket.socket:
    """Where uv asks; UnavailableError, with what the sandbox says, where it could not be set up."""
    try:
        return receive_listener(ours)
    except UnavailableError as error:
        process.kill()
        said = process.communicate()[1].decode(errors="replace").strip()
        raise UnavailableError(f"{error}: {said}" if said else str(error)) from None


def _named_paths() -> Iterator[Path]:
    """Files and directories that uv's variables name, such as wheels to install from."""
    for name, value in os.environ.items():
        for word in value.replace(",", " ").split() if is_for_uv(name) else ():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                yield path


def _interpreters() -> Iterator[Path]:
    """Installations of Python that the path leads to."""
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        for found in Path(directory).glob("python3*") if directory else ():
            yield from (Path(directory), found.resolve().parents[1])


def _failure(output: str, guard: EgressGuard) -> InvalidError | UnavailableError:
    tail = output[-_UV_OUTPUT:]
    if guard.refused:
        return InvalidError(
            f"the package's environment cannot be built: {', '.join(guard.refused)} may not be"
            f" asked: it is at no public address, and neither uv's variables nor {SETTING} name it:"
            f" uv says: {tail}"
        )
    if is_index_unreachable(output):
        why = "".join(f"; {failed}" for failed in guard.failed)
        return UnavailableError(f"the package index cannot be reached: uv says: {tail}{why}")
    return InvalidError(f"the package's environment cannot be built: uv says: {tail}")


def is_index_unreachable(output: str) -> bool:
    """Whether uv had no answer, or one that says to retry; any other refusal is final."""
    return any(sign in output for sign in _UNREACHABLE)
