"""The exact bytes of a commit, and none outside of it."""

from pathlib import Path

import pytest

from loopwright_trainer.git.command import GitError
from loopwright_trainer.git.mirror import Mirror
from loopwright_trainer.git.remotes import GitAccess
from loopwright_trainer.git.tree import Tree
from tests.trainer.harness import Upstream

MAIN = "refs/heads/main"


@pytest.fixture
def mirror(upstream: Upstream, tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror.git", str(upstream.path), GitAccess([tmp_path]))


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


def test_links_that_lead_out_together_are_refused(
    upstream: Upstream, mirror: Mirror, tmp_path: Path
) -> None:
    """Each stays inside as long as the other is not there."""
    (upstream.path / "z").symlink_to(".")
    (upstream.path / "a").symlink_to("z/z/z/../../../outside")
    commit = upstream.commit({})

    with pytest.raises(GitError, match="the link a points out of the repository"):
        written(mirror.tree(commit, MAIN), tmp_path / "out")


def test_nothing_is_written_through_a_link(
    upstream: Upstream, mirror: Mirror, tmp_path: Path
) -> None:
    """Git's own commands make no such tree; its objects can hold one."""
    (upstream.path / "points").write_text(str(tmp_path))
    link = upstream.git("hash-object", "-w", "points")
    below = bytes.fromhex(upstream.git("rev-parse", "HEAD^{tree}"))
    entries = b"120000 a\0" + bytes.fromhex(link) + b"40000 a\0" + below
    (upstream.path / "tree").write_bytes(entries)
    tree = upstream.git("hash-object", "-t", "tree", "-w", "--literally", "tree")
    commit = upstream.git("commit-tree", tree, "-m", "odd")
    upstream.git("update-ref", MAIN, commit)

    with pytest.raises(GitError, match="below what is no directory"):
        mirror.tree(commit, MAIN)


@pytest.mark.parametrize("name", ["two\nlines", "esc\x1b[2J"])
def test_names_that_are_not_shown_as_they_are_are_refused(
    upstream: Upstream, mirror: Mirror, name: str
) -> None:
    commit = upstream.commit({name: "x"})
    with pytest.raises(GitError, match="forbidden path"):
        mirror.tree(commit, MAIN)


def test_submodules_are_left_out(upstream: Upstream, mirror: Mirror) -> None:
    head = upstream.git("rev-parse", "HEAD")
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    upstream.git("commit", "-q", "-m", "sub")

    assert "sub" not in mirror.tree(upstream.git("rev-parse", "HEAD"), MAIN).entries
