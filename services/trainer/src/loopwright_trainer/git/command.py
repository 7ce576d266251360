"""The git command, deaf to hooks, user settings, prompts, keys and other people's transports."""

import os
import subprocess
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


class GitError(InvalidError):
    """git failed; the message has its reason."""


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
    """What `git ARGUMENTS` prints; GitError when it fails or takes over `timeout` seconds."""
    try:
        done = subprocess.run(
            git_command(arguments, settings),
            cwd=cwd,
            env=git_environment() | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took longer than {timeout:g} s") from None
    except OSError as error:
        raise GitError(f"git cannot be started: {without_paths(error)}") from None
    if done.returncode:
        raise GitError(f"git {arguments[0]}: {_reason(done.stderr)}")
    return done.stdout


def git_command(arguments: Sequence[str], settings: Sequence[str] = ()) -> list[str]:
    """The whole command; `settings` such as `protocol.https.allow=always` come after ours."""
    options = [option for setting in (*_SETTINGS, *settings) for option in ("-c", setting)]
    return ["git", *options, *arguments]


def _reason(stderr: bytes) -> str:
    """The line that says most, of what git complained."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return without_paths((telling or lines or ["no reason given"])[0])[:300]
