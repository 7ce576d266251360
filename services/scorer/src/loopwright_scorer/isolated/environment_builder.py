"""Builds virtual environments with uv; an unreachable index is told from one that refuses."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.files.removal import remove_tree
from loopwright_common.sandbox import Policy, Sandbox

_BUILD_SECONDS = 240
_FOR_UV = ("UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
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
    target: Path, requirements: Sequence[str], python: str, sandbox: Sandbox
) -> None:
    """Build an environment at `target`, of wheels only, so that building runs no code of anybody's.

    uv reads what an index hands out, and sees nothing but this directory. Raises InvalidError that
    names the requirement that cannot be had, and UnavailableError while no package index can be
    reached.
    """
    temporary = target.with_suffix(".building")
    remove_tree(temporary)
    requirements_file = temporary.with_suffix(".txt")
    requirements_file.write_text("\n".join(requirements) + "\n")
    into = str(temporary / "bin" / "python")
    install = ("pip", "install", "--python", into, "--only-binary", ":all:", "--compile-bytecode")
    uv = _Uv(sandbox, target.parent)
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
    """uv with all that it writes in one directory, and of our environment what is meant for it."""

    def __init__(self, sandbox: Sandbox, directory: Path) -> None:
        import uv

        self._command = uv.find_uv_bin()
        self._sandbox = sandbox
        self._policy = Policy(
            readable=(Path(self._command).resolve(), *_named_paths(), *_interpreters()),
            writable=(directory,),
            network=True,
        )
        uv_settings = {name: value for name, value in os.environ.items() if _is_for_uv(name)}
        own = directory / ".uv"
        own.mkdir(exist_ok=True)
        self._variables = {
            **uv_settings,
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(own),
            "TMPDIR": str(own),
            "UV_CACHE_DIR": str(own / "cache"),
            "UV_PYTHON_INSTALL_DIR": str(own / "python"),
        }

    def run(self, *arguments: str) -> None:
        try:
            done = subprocess.run(
                self._sandbox.wrap([self._command, *arguments], self._policy),
                env=self._variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_BUILD_SECONDS,
                umask=0o022,  # other users of ours run on it
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError(
                f"the package's environment was not built within {_BUILD_SECONDS} s;"
                " what uv has downloaded is kept"
            ) from None
        if done.returncode:
            raise _failure(done.stderr.decode(errors="replace").strip())


def _is_for_uv(name: str) -> bool:
    return name.upper().startswith(_FOR_UV)


def _named_paths() -> Iterator[Path]:
    """Files and directories that uv's variables name, such as wheels to install from."""
    for name, value in os.environ.items():
        for word in value.replace(",", " ").split() if _is_for_uv(name) else ():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                yield path


def _interpreters() -> Iterator[Path]:
    """Installations of Python that the path leads to."""
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        for found in Path(directory).glob("python3*") if directory else ():
            yield from (Path(directory), found.resolve().parents[1])


def _failure(output: str) -> InvalidError | UnavailableError:
    tail = output[-_UV_OUTPUT:]
    if is_index_unreachable(output):
        return UnavailableError(f"the package index cannot be reached: uv says: {tail}")
    return InvalidError(f"the package's environment cannot be built: uv says: {tail}")


def is_index_unreachable(output: str) -> bool:
    """Whether uv had no answer, or one that says to retry; any other refusal is final."""
    return any(sign in output for sign in _UNREACHABLE)
