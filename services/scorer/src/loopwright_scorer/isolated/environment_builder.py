"""Builds an environment with uv, and tells an index that is away from one that says no."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from loopwright_common.errors import InvalidError, UnavailableError

_BUILD_SECONDS = 240
_UV_WORDS = 1200
# The exit status does not tell: it is 2 for some of what an index refuses, too.
_OUT_OF_REACH = (
    "error sending request for url",
    "error decoding response body for url",
    "HTTP status server error",
    "429 Too Many Requests",
    "408 Request Timeout",
)


def build(target: Path, requirements: Sequence[str], python: str) -> None:
    """Only wheels are installed, so that building runs no code of anybody's.

    InvalidError says which requirement cannot be had; UnavailableError while no index tells.
    """
    passing = target.with_suffix(".building")
    shutil.rmtree(passing, ignore_errors=True)
    names = passing.with_suffix(".txt")
    names.write_text("\n".join(requirements) + "\n")
    into = str(passing / "bin" / "python")
    install = ("pip", "install", "--python", into, "--only-binary", ":all:", "--compile-bytecode")
    try:
        _uv("venv", "--quiet", "--no-project", "--python", python, "--relocatable", str(passing))
        _uv(*install, "--quiet", "--requirements", str(names))
        passing.rename(target)
    finally:
        shutil.rmtree(passing, ignore_errors=True)
        names.unlink(missing_ok=True)


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


def _failure(said: str) -> InvalidError | UnavailableError:
    words = said[-_UV_WORDS:]
    if is_out_of_reach(said):
        return UnavailableError(f"the package index cannot be reached: uv says: {words}")
    return InvalidError(f"the package's environment cannot be built: uv says: {words}")


def is_out_of_reach(said: str) -> bool:
    """Whether uv had no answer, or one that tells to come again; else it was told for good."""
    return any(sign in said for sign in _OUT_OF_REACH)
