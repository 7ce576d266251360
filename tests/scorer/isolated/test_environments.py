"""What uv says of an index that is away, and of one that says no, is told apart."""

from pathlib import Path

import pytest

from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.sandbox import detect
from loopwright_scorer.isolated.environments import EnvironmentCache
from tests.package_index import CUT, Index


def built(tmp_path: Path, requirement: str) -> Path:
    environment = EnvironmentCache(tmp_path / "environments", detect(), IndexAccess()).acquire(
        [requirement], None
    )
    environment.release()
    return environment.python


@pytest.mark.parametrize("status", [CUT, 429, 503])
def test_an_index_that_fails_is_a_passing_fault_and_leaves_nothing(
    index: Index, tmp_path: Path, status: int
) -> None:
    index.status = status
    with pytest.raises(UnavailableError, match=r"package index cannot be reached.*127\.0\.0\.1"):
        built(tmp_path, "greeting")
    left = {each.name for each in (tmp_path / "environments").glob("*[!k]")}
    assert left == {".uv"}  # beside locks, what uv keeps for itself

    index.status = 200
    assert built(tmp_path, "greeting").is_file()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/simple", "https://nowhere.invalid/simple"])
@pytest.mark.usefixtures("index")
def test_an_index_that_is_not_there_is_a_passing_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", url)

    with pytest.raises(UnavailableError, match="error sending request"):
        built(tmp_path, "greeting")


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_FIND_LINKS"])
def test_what_uv_has_tried_again_in_vain_is_a_passing_fault(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "1")
    monkeypatch.setenv(name, "http://127.0.0.1:9/simple")

    with pytest.raises(UnavailableError, match="after 1 retr"):
        built(tmp_path, "greeting")


@pytest.mark.parametrize("status", [401, 404, 410])
def test_an_index_that_refuses_has_answered(index: Index, tmp_path: Path, status: int) -> None:
    index.status = status

    with pytest.raises(InvalidError, match="cannot be built"):
        built(tmp_path, "greeting")


@pytest.mark.parametrize("requirement", ["greeting==9.0", "nobody-has-this"])
@pytest.mark.usefixtures("index")
def test_what_no_index_has_is_named(tmp_path: Path, requirement: str) -> None:
    with pytest.raises(InvalidError, match=requirement):
        built(tmp_path, requirement)


@pytest.mark.usefixtures("index")
def test_a_python_that_cannot_be_downloaded_is_a_passing_fault_unless_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "pythons"))
    monkeypatch.setenv("UV_PYTHON_PREFERENCE", "only-managed")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "automatic")

    with pytest.raises(UnavailableError, match="Failed to download"):
        EnvironmentCache(tmp_path / "environments", detect(), IndexAccess()).acquire(
            ["greeting"], "3.10"
        )

    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    with pytest.raises(InvalidError, match=r"No interpreter found for Python 3\.10"):
        EnvironmentCache(tmp_path / "environments", detect(), IndexAccess()).acquire(
            ["greeting"], "3.10"
        )
