"""The demo as a user runs it: the loop closes on the bank's calls, and says so with figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(5600)]


def test_the_demo_closes_the_loop_and_leaves_its_story(tmp_path: Path) -> None:
    directory = tmp_path / "demo"

    done = subprocess.run(
        [sys.executable, "-m", "loopwright", "demo", "--dir", str(directory)],
        capture_output=True,
        text=True,
        timeout=5400,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for told in ("drift-detected", "retrain-requested", "reused", "The loop closed."):
        assert told in done.stdout
    story = (directory / "story.md").read_text()
    assert "Who served, and how well" in story
    assert (directory / "story.png").stat().st_size > 10_000
    assert set(json.loads((directory / "endpoints.json").read_text())) >= {"registry", "scorer"}
