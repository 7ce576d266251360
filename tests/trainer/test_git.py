"""Commits of other people's repositories are read, and nothing of theirs runs."""

from pathlib import Path

import pytest

from loopwright_trainer.git.command import GitError
from loopwright_trainer.git.mirror import Mirror, remote_head
from loopwright_trainer.git.tree import Tree
from tests.trainer.builders import Upstream

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


def test_a_commit_that_the_branch_does_not_contain_is_refused(
    upstream: Upstream, mirror: Mirror
) -> None:
    upstream.git("checkout", "-q", "-b", "fork")
    foreign = upstream.commit({"evil.py": "1"})

    with pytest.raises(GitError, match="is not in refs/heads/main"):
        mirror.tree(foreign, MAIN)
    with pytest.raises(GitError, match="no full commit id"):
        mirror.tree("HEAD", MAIN)


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


def test_hooks_and_external_transports_do_not_run(
    upstream: Upstream, mirror: Mirror, tmp_path: Path
) -> None:
    hook = mirror.directory / "hooks" / "post-checkout"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    mirror.tree(upstream.git("rev-parse", "HEAD"), MAIN)

    assert not (tmp_path / "ran").exists()
    with pytest.raises(Exception, match="give an absolute path, or a URL"):
        remote_head(f"ext::sh -c touch% {tmp_path}/ran", "main")


def test_a_commit_is_described(upstream: Upstream, mirror: Mirror) -> None:
    before = upstream.git("rev-parse", "HEAD")
    commit = upstream.commit({"train.py": "1", "data.csv": None}, "Say: more\n\nbody")
    mirror.ensure(commit, MAIN)
    told = mirror.describe(commit, before)

    assert (told.author, told.message) == ("ada@example.org", "Say: more")
    assert told.paths == ("data.csv", "train.py")
    assert remote_head(str(upstream.path), "main") == commit
    assert remote_head(str(upstream.path), "nope") is None
