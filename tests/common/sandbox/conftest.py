"""The levels that this machine permits, and a directory for commands."""

import os
from pathlib import Path

import pytest

from loopwright_common.sandbox import Level, Sandbox, detect

LEVELS = "SANDBOX_LEVELS"
"""Variable with other levels than the usual, for surroundings that permit others."""


@pytest.fixture(params=os.environ.get(LEVELS, "namespace process").split())
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    level = Level(request.param)
    found = detect(level)
    if found.level is not level:
        pytest.skip(f"this machine permits no more than {found.level}: {found.why_not_more}")
    return found


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path.resolve() / "work"
