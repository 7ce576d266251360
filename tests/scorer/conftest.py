"""Fixtures of the scorer's tests: packages made once per session, and what a replica needs."""

from pathlib import Path

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.storage.filesystem import FilesystemStore
from tests.scorer import packages
from tests.scorer.harness import ScorerHarness


@pytest.fixture(scope="session")
def package_dirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Serving packages by what they are; brittle ones start in milliseconds."""
    root = tmp_path_factory.mktemp("packages")
    return {
        "trained": packages.trained(root / "trained", 1, native=False),
        "native": packages.trained(root / "native", 1, native=True),
        "strict": packages.trained(root / "strict", 1, native=False, unseen="error"),
        "low": packages.brittle(root / "low", 0.25),
        "high": packages.brittle(root / "high", 0.75),
        "summing": packages.summing(root / "summing"),
    }


@pytest.fixture
def harness(
    bus: SqliteBus, store: FilesystemStore, tmp_path: Path, package_dirs: dict[str, Path]
) -> ScorerHarness:
    return ScorerHarness(bus, store, tmp_path, package_dirs)
