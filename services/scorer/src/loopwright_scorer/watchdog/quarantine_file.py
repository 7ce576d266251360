"""The packages that are kept out of a scorer's process, one a line. Standard library only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def append(path: Path, digest: str, reason: str) -> None:
    """Return once it is on disk."""
    line = json.dumps({"digest": digest, "reason": reason})
    with path.open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Mapping[str, str]:
    """Reasons by digest; a line that a crash cut off is left out."""
    reasons = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        reasons[str(entry["digest"])] = str(entry["reason"])
    return reasons
