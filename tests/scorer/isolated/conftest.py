from collections.abc import Generator
from pathlib import Path

import pytest

from tests.package_index import Index, package_index
from tests.scorer.isolated_packages import wheels


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Index, None, None]:
    """What uv asks, once, remembering nothing."""
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with package_index(wheels(tmp_path / "wheels")) as index:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        yield index
