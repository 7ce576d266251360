"""Example repositories shipped with Loopwright, written out as a starting point."""

import shutil
import subprocess
from enum import StrEnum
from pathlib import Path

from loopwright_common.errors import ConflictError, UnavailableError

_SHIPPED = Path(__file__).parent
_OURS = shutil.ignore_patterns("__init__.py", "__pycache__")
_COMMITTER = ("-c", "user.name=loopwright", "-c", "user.email=loopwright@localhost")


class Example(StrEnum):
    """What `loopwright init` can write."""

    BANK = "bank"
    DIGITS = "digits"


def write_example(example: Example, directory: Path, *, git: bool = True) -> str | None:
    """Write the example into a new or empty directory; returns its first commit, if any.

    ConflictError for a directory that holds anything.
    """
    if directory.exists() and any(directory.iterdir()):
        raise ConflictError(f"{directory} is not empty; name a new directory")
    shutil.copytree(_SHIPPED / example, directory, ignore=_OURS, dirs_exist_ok=True)
    (directory / "gitignore").rename(directory / ".gitignore")
    return _first_commit(directory) if git else None


def _first_commit(directory: Path) -> str:
    _git(directory, "init", "--quiet", "--initial-branch=main")
    _git(directory, "add", "--all")
    _git(directory, *_author(directory), "commit", "--quiet", "--message=Start from the example")
    return _git(directory, "rev-parse", "HEAD")


def _author(directory: Path) -> tuple[str, ...]:
    """Options that name a committer where the user has configured none."""
    try:
        _git(directory, "config", "user.email")
    except UnavailableError:
        return _COMMITTER
    return ()


def _git(directory: Path, *arguments: str) -> str:
    """What git prints; UnavailableError with its complaint when it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise UnavailableError("git is not installed; install it or pass --no-git") from None
    if done.returncode:
        raise UnavailableError(f"git {arguments[0]}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()
