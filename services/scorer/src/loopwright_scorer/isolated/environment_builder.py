"""Builds virtual environments with uv; an unreachable index is told from one that refuses."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from loopwright_common.errors import InvalidError, UnavailableError

_BUILD_SECONDS = 240
_UV_OUTPUT = 1200
# The exit status does not tell: it is 2 for some of what an index refuses, too.
_UNREACHABLE = (
    "error sending request for url",
    "error decoding response body for url",
    "HTTP status server error",
    "429 Too Many Requests",
    "408 Request Timeout",
)


def build_environment(target: Path, requirements: Sequence[str], python: str) -> None:
    """Build an environment at `target`, of wheels only, so that building runs no code of anybody's.

    Raises InvalidError that names the requirement that cannot be had, and UnavailableError while
    no package index can be reached.
    """
    temporary = target.with_suffix(".building")
    shutil.rmtree(temporary, ignore_errors=True)
    requirements_file = temporary.with_suffix(".txt")
    requirements_file.write_text("\n".join(requirements) + "\n")
    into = str(temporary / "bin" / "python")
    install = ("pip", "install", "--python", into, "--only-binary", ":all:", "--compile-bytecode")
    try:
        _uv("venv", "--quiet", "--no-project", "--python", python, "--relocatable", str(temporary))
        _uv(*install, "--quiet", "--requirements", str(requirements_file))
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        requirements_file.unlink(missing_ok=True)


def _uv(*arguments: str) -> None:
    import uv

    # An environment that is active here is not where this belongs.
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = [uv.find_uv_bin(), *arguments]
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"the package's environment was not built within {_BUILD_SECONDS} s;"
            " what uv has downloaded is kept"
        ) from None
    if done.returncode:
        raise _failure(done.stderr.decode(errors="replace").strip())


def _failure(output: str) -> InvalidError | UnavailableError:
    tail = output[-_UV_OUTPUT:]
    if is_index_unreachable(output):
        return UnavailableError(f"the package index cannot be reached: uv says: {tail}")
    return InvalidError(f"the package's environment cannot be built: uv says: {tail}")


def is_index_unreachable(output: str) -> bool:
    """Whether uv had no answer, or one that says to retry; any other refusal is final."""
    return any(sign in output for sign in _UNREACHABLE)
