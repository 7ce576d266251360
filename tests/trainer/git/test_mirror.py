"""Commits of other people's repositories are read, and nothing of theirs runs."""

import os
from pathlib import Path
from typing import Any

import pytest

from loopwright_trainer.git.command import GitError, GitOutputError, run_git
from loopwright_trainer.git.mirror import Mirror, remote_head
from loopwright_trainer.git.remotes import GitAccess
from tests.trainer.git.hostile_trees import commit_bomb, commit_described, commit_entries
from tests.trainer.harness import Upstream

MAIN = "refs/heads/main"


@pytest.fixture
def mirror(upstream: Upstream, tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror.git", str(upstream.path), GitAccess([tmp_path]))


def test_a_commit_that_the_branch_does_not_contain_is_refused(
    upstream: Upstream, mirror: Mirror
) -> None:
    upstream.git("checkout", "-q", "-b", "fork")
    foreign = upstream.commit({"evil.py": "1"})

    with pytest.raises(GitError, match="is not in refs/heads/main"):
        mirror.tree(foreign, MAIN)
    with pytest.raises(GitError, match="no full commit id"):
        mirror.tree("HEAD", MAIN)


def test_hooks_and_external_transports_do_not_run(
    upstream: Upstream, mirror: Mirror, tmp_path: Path
) -> None:
    hook = mirror.directory / "hooks" / "post-checkout"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    mirror.tree(upstream.git("rev-parse", "HEAD"), MAIN)

    assert not (tmp_path / "ran").exists()
    with pytest.raises(Exception, match="give a URL of https, http or ssh, or an absolute path"):
        remote_head(GitAccess(), f"ext::sh -c touch% {tmp_path}/ran", "main")


def test_a_commit_is_described(upstream: Upstream, mirror: Mirror) -> None:
    before = upstream.git("rev-parse", "HEAD")
    commit = upstream.commit({"train.py": "1", "data.csv": None}, "Say: more\n\nbody")
    mirror.ensure(commit, MAIN)
    told = mirror.describe(commit, before)

    assert (told.author, told.message) == ("ada@example.org", "Say: more")
    assert told.paths == ("data.csv", "train.py")
    assert remote_head(GitAccess([upstream.path]), str(upstream.path), "main") == commit
    assert remote_head(GitAccess([upstream.path]), str(upstream.path), "nope") is None


def test_a_commit_of_any_bytes_is_described(upstream: Upstream, mirror: Mirror) -> None:
    author, message = b"\xff@example.org", b"\xfe\x1b[2J " + b"m" * 1_000_000
    commit = commit_described(upstream, author, message)
    mirror.ensure(commit, MAIN)
    told = mirror.describe(commit, None)

    assert told.author == "\ufffd@example.org"
    assert told.message.startswith("\ufffd\\x1b[2J mmm")
    assert len(told.message) < 300


def test_more_paths_than_can_be_told_are_unknown(upstream: Upstream, mirror: Mirror) -> None:
    """Neither cut, which would pass for all of them, nor listed to an end that does not come."""
    before = upstream.git("rev-parse", "HEAD")
    many = commit_entries(upstream, {b"%0200d" % n: b"x" for n in range(1000)})
    bomb = commit_bomb(upstream, levels=8)
    mirror.ensure(bomb, MAIN)

    assert mirror.describe(many, before).paths == ()
    for start in (None, before):
        assert mirror.describe(bomb, start).paths == ()


def test_the_difference_to_a_tree_that_never_ends_is_not_asked_of_git(
    upstream: Upstream, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git would gather all of it before it says a word."""
    before = upstream.git("rev-parse", "HEAD")
    after = upstream.commit({"train.py": "1"})
    bomb = commit_bomb(upstream, levels=8)
    mirror.ensure(bomb, MAIN)
    asked: list[str] = []

    def listening(command: str, *arguments: str, **options: Any) -> bytes:
        asked.append(command)
        return run_git(command, *arguments, **options)

    monkeypatch.setattr("loopwright_trainer.git.mirror.run_git", listening)
    for start, end in ((before, bomb), (bomb, after)):
        assert mirror.describe(end, start).paths == ()
    assert "diff-tree" not in asked
    assert mirror.describe(after, before).paths == ("train.py",)
    assert asked[-1] == "diff-tree"


def test_git_is_not_listened_to_without_end(upstream: Upstream, mirror: Mirror) -> None:
    commit = commit_bomb(upstream, levels=8)
    with pytest.raises(GitOutputError, match="more than 64 MiB"):
        run_git("ls-tree", "-r", commit, cwd=upstream.path)


def test_what_a_killed_git_left_does_not_hinder_the_next_fetch(
    upstream: Upstream, mirror: Mirror
) -> None:
    """The beginning of a mirror, then locks that nobody holds any more."""
    mirror.directory.mkdir(parents=True)
    (mirror.directory / "HEAD").write_text("ref: refs/heads/main\n")
    mirror.ensure(upstream.git("rev-parse", "HEAD"), MAIN)

    for lock in ("refs/heads/main.lock", "packed-refs.lock", "config.lock"):
        (mirror.directory / lock).write_text("")
    commit = upstream.commit({"train.py": "1"})
    mirror.ensure(commit, MAIN)
    assert mirror.describe(commit, None).commit == commit


def test_a_lock_that_its_git_removes_meanwhile_does_not_hinder_a_fetch(
    upstream: Upstream, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = mirror.directory / "refs" / "heads" / "main.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("")
    unlink = Path.unlink

    def unlink_second(path: Path, missing_ok: bool = False) -> None:
        if path == lock:
            os.unlink(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_second)
    mirror.ensure(upstream.git("rev-parse", "HEAD"), MAIN)

    assert not lock.exists()
