"""The git command, deaf to hooks, user settings, prompts, keys and other people's transports."""

import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from loopwright_common.errors import InvalidError, without_paths

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "protocol.allow=never",
    "credential.helper=",
    "submodule.recurse=false",
    "gc.auto=0",
)
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "HOME": "/nonexistent",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}
_PASSED_ON = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
LARGEST_OUTPUT = 64 << 20
"""Bytes: what git prints follows from a repository, and a small one may have it print for ever."""
_LARGEST_COMPLAINT = 64 << 10
_CHUNK = 64 << 10


class GitError(InvalidError):
    """git failed; the message has its reason."""


class GitOutputError(GitError):
    """git had more to say than is listened to."""


def git_environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | _ENVIRONMENT


def run_git(
    *arguments: str,
    cwd: Path | None = None,
    timeout: float = 30,
    settings: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> bytes:
    """What `git ARGUMENTS` prints; GitError when it fails or takes over `timeout` seconds.

    GitOutputError when it prints more than 64 MiB.
    """
    try:
        with subprocess.Popen(
            git_command(arguments, settings),
            cwd=cwd,
            env=git_environment() | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                printed, complaints = _outputs_of(process, timeout)
            except BaseException:
                process.kill()
                raise
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took longer than {timeout:g} s") from None
    except OSError as error:
        raise GitError(f"git cannot be started: {without_paths(error)}") from None
    if process.returncode:
        raise GitError(f"git {arguments[0]}: {_reason(complaints, process.returncode)}")
    return printed


def _outputs_of(process: subprocess.Popen[bytes], timeout: float) -> tuple[bytes, bytes]:
    """What it prints and complains of until it has ended; TimeoutExpired after `timeout` seconds.

    Of complaints the beginning is kept. GitOutputError when it prints more than is taken.
    """
    printed, complaints = bytearray(), bytearray()
    ends = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for stream, kept in ((process.stdout, printed), (process.stderr, complaints)):
            if stream:
                selector.register(stream, selectors.EVENT_READ, kept)
        while selector.get_map():
            ready = selector.select(max(ends - time.monotonic(), 0))
            if not ready:
                raise subprocess.TimeoutExpired(process.args, timeout)
            for key, _ in ready:
                if not _read(key):
                    selector.unregister(key.fileobj)
            if len(printed) > LARGEST_OUTPUT:
                raise GitOutputError(f"git printed more than {LARGEST_OUTPUT >> 20} MiB")
            del complaints[_LARGEST_COMPLAINT:]
    process.wait(max(ends - time.monotonic(), 0.001))
    return bytes(printed), bytes(complaints)


def _read(key: selectors.SelectorKey) -> bool:
    """Add what has come to what is kept; False at the end."""
    chunk = os.read(key.fd, _CHUNK)
    key.data.extend(chunk)
    return bool(chunk)


def git_command(arguments: Sequence[str], settings: Sequence[str] = ()) -> list[str]:
    """The whole command; `settings` such as `protocol.https.allow=always` come after ours."""
    options = [option for setting in (*_SETTINGS, *settings) for option in ("-c", setting)]
    return ["git", *options, *arguments]


def _reason(complaints: bytes, returncode: int) -> str:
    """The line that says most, of what git complained."""
    lines = [line for line in complaints.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))]
    ended = f"killed by signal {-returncode}" if returncode < 0 else "no reason given"
    return without_paths((telling or lines or [ended])[0])[:300]
