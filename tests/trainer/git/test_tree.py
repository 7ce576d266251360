"""The exact bytes of a commit, and none outside of it."""

from pathlib import Path

import pytest

from loopwright_trainer.git.command import GitError
from loopwright_trainer.git.mirror import Mirror
from loopwright_trainer.git.tree import Tree
from tests.trainer.harness import Upstream

MAIN = "refs/heads/main"


@pytest.fixture
def mirror(upstream: Upstream, tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror.git", str(upstream.path))


def written(tree: Tree, directory: Path) -> dict[str, bytes]:
    tree.write(tree.entries.values(), directory)
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_checkout_is_of_the_commit_and_never_of_the_working_copy(
    upstream: Upstream, mirror: Mirror, tmp_path: Path
) -> None:
    commit = upstream.git("rev-parse", "HEAD")
    (upstream.path / "data.csv").write_text("dirty")
    upstream.commit({"data.csv": "newer"})

    assert written(mirror.tree(commit, MAIN), tmp_path / "out")["data.csv"] == b"1,2\n"


def test_filters_line_ends_and_substitutions_change_nothing(
    upstream: Upstream, mirror: Mirror, tmp_path: Path
) -> None:
    attributes = "* text eol=crlf\n*.csv filter=evil export-subst export-ignore\n"
    commit = upstream.commit({".gitattributes": attributes, "data.csv": "$Format:%H$\n"})

    assert written(mirror.tree(commit, MAIN), tmp_path / "out")["data.csv"] == b"$Format:%H$\n"


@pytest.mark.parametrize("points_to", ["/etc/passwd", "../../outside"])
def test_links_out_of_the_repository_are_refused(
    upstream: Upstream, mirror: Mirror, tmp_path: Path, points_to: str
) -> None:
    (upstream.path / "link").symlink_to(points_to)
    commit = upstream.commit({})

    with pytest.raises(GitError, match="points out of the repository"):
        written(mirror.tree(commit, MAIN), tmp_path / "out")


def test_submodules_are_left_out(upstream: Upstream, mirror: Mirror) -> None:
    head = upstream.git("rev-parse", "HEAD")
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    upstream.git("commit", "-q", "-m", "sub")

    assert "sub" not in mirror.tree(upstream.git("rev-parse", "HEAD"), MAIN).entries
