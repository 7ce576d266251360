"""Directories and files that nobody else reads, also where they were open before."""

import os
import stat
from pathlib import Path

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.errors import UnavailableError
from loopwright_common.files.private import is_private, let_pass, make_private
from loopwright_common.files.removal import remove_tree
from loopwright_common.process.directory_lock import exclusive_directory
from loopwright_common.settings import ServiceSettings
from loopwright_common.storage import open_store
from tests.common.files.test_removal import nest


class SomeSettings(ServiceSettings):
    service = "some"
    port: int = 1


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def opened(path: Path, *, directory: bool = False) -> Path:
    """One that everybody may read, as the system's default is."""
    if directory:
        path.mkdir(parents=True)
    else:
        path.write_text("somebody's rows")
    path.chmod(0o755 if directory else 0o644)
    return path


def held(directory: Path) -> None:
    with exclusive_directory(directory, "test", "give another"):
        pass


def test_what_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    data = opened(tmp_path / "data", directory=True)
    opened(data / "lock")
    database = opened(data / "registry.db")
    program = opened(opened(data / "work", directory=True) / "program")
    program.chmod(0o755)
    elsewhere = opened(tmp_path / "elsewhere")
    (data / "link").symlink_to(elsewhere)

    held(data)

    assert [mode(path) for path in (data, database, program)] == [0o700, 0o600, 0o700]
    assert mode(elsewhere) == 0o644


def test_directories_deeper_than_a_path_may_be_do_not_hinder_a_start(tmp_path: Path) -> None:
    data = opened(tmp_path / "data", directory=True)
    opened(data / "lock")
    nest(data, 1500, "d" * 50)
    nest(data, 1500, "e")

    held(data)

    assert mode(data / "lock") == 0o600
    remove_tree(data)  # pytest's own removal is one that calls itself


def test_a_directory_that_was_somebodys_own_is_closed_and_its_files_are_left(
    tmp_path: Path,
) -> None:
    home = opened(tmp_path / "home", directory=True)
    mine = opened(home / "notes")
    held(home)
    assert (mode(home), mode(mine)) == (0o700, 0o644)


async def test_every_directory_of_ours_is_closed_when_it_is_opened(tmp_path: Path) -> None:
    for directory in (
        databases := opened(tmp_path / "databases", directory=True),
        artifacts := opened(tmp_path / "artifacts", directory=True),
    ):
        assert not is_private(mode(directory))
    bus = await SqliteBus.open(databases)
    await bus.close()
    open_store(f"file://{artifacts}")
    assert (mode(databases), mode(artifacts)) == (0o700, 0o700)


def test_a_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(UnavailableError, match=r"belongs to user .*own"):
        make_private(tmp_path)
    with pytest.raises(UnavailableError, match=r"belongs to user .*give another"):
        held(tmp_path)


def test_one_group_may_pass_and_nobody_may_look(tmp_path: Path) -> None:
    inner = tmp_path / "data" / "engines" / "server"
    inner.mkdir(parents=True)
    for closed in (inner.parent, inner.parent.parent):
        closed.chmod(0o750)
    let_pass(inner, os.getgid())
    assert mode(inner.parent) == mode(inner.parent.parent) == 0o710
    assert is_private(mode(inner.parent))


def test_artifacts_lie_beside_the_databases_unless_told() -> None:
    beside = SomeSettings(database_url="sqlite:////var/lib/loop")
    assert beside.artifact_store == "file:///var/lib/loop/artifacts"
    shared = SomeSettings(database_url="postgresql://here/loop")
    assert shared.artifact_store == f"file://{Path.cwd()}/.loopwright/artifacts"
    assert SomeSettings(artifacts_url="s3://bucket/x").artifact_store == "s3://bucket/x"
