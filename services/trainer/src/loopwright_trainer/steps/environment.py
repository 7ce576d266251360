"""What stages run in: the part of a step's key that names our Python and its packages."""

import hashlib
import json
import platform
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions

from loopwright_trainer.git.tree import Tree, digest_of_entries

LOCK_FILES = ("uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "requirements.txt")


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """Our Python; `digest` is of its packages and the commit's lock files."""

    digest: str
    python: str
    platform: str


def environment_of(tree: Tree) -> PythonEnvironment:
    """The installed packages and the commit's lock files, as one digest.

    Loopwright's own packages stay out: upgrading it does not make results stale.
    """
    locks = [tree.entries[name] for name in LOCK_FILES if name in tree.entries]
    named = json.dumps([_installed(), digest_of_entries(locks) if locks else None])
    digest = "sha256:" + hashlib.sha256(named.encode()).hexdigest()
    return PythonEnvironment(digest, platform.python_version(), _platform())


def warm_up() -> None:
    """Look at the installed packages before the first run needs them; takes 0.2 s."""
    _installed()


@cache
def _installed() -> str:
    installed = {
        (re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(), d.version) for d in distributions()
    }
    ours = sorted(pair for pair in installed if not pair[0].startswith("loopwright"))
    return hashlib.sha256(json.dumps(ours).encode()).hexdigest()


@cache
def _platform() -> str:
    return f"{platform.system()}-{platform.machine()}".lower()
