"""A bare mirror per repository, and what is asked of the repository itself."""

import asyncio
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from loopwright_common.files.removal import remove_tree
from loopwright_common.names import shown
from loopwright_trainer.git.command import GitError, run_git
from loopwright_trainer.git.remotes import GitAccess
from loopwright_trainer.git.tree import Tree, read_tree

_FETCH_SECONDS = 600
_REMOTE_SECONDS = 20
_LARGEST_CHANGE = 128 << 10
"""Bytes of paths that an event has room for, whatever they are written as there."""
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REF = re.compile(r"refs/(heads|tags)/[^\s~^:?*\[\\]+")


@dataclass(frozen=True, slots=True)
class CommitDescription:
    """A commit as `code-changed` tells it; no `paths` means that they are unknown."""

    commit: str
    author: str
    message: str
    paths: tuple[str, ...]


def check_ref(ref: str) -> str:
    """The ref itself; GitError unless it is the full name of a branch or tag."""
    if not _REF.fullmatch(ref) or ".." in ref:
        raise GitError(f"{ref!r} is no branch or tag; it has to be such as refs/heads/main")
    return ref


def remote_head(access: GitAccess, url: str, branch: str) -> str | None:
    """The commit a branch points to now, or None where there is no such branch.

    GitError where the repository cannot be asked.
    """
    ref = check_ref(f"refs/heads/{branch}")
    asked = ("ls-remote", "--", "{}", ref)
    answer = access.ask(*asked, url=url, timeout=_REMOTE_SECONDS).decode(errors="replace")
    for line in answer.splitlines():
        commit, _, name = line.partition("\t")
        if name == ref:
            return commit
    return None


class Mirror:
    """What we hold of one repository."""

    def __init__(self, directory: Path, url: str, access: GitAccess) -> None:
        self.directory = directory
        self._url = url
        self._access = access

    def tree(self, commit: str, ref: str) -> Tree:
        """The files of a commit, fetched if need be; GitError if `ref` does not contain it."""
        self.ensure(commit, ref)
        return read_tree(self.directory, commit)

    def ensure(self, commit: str, ref: str) -> None:
        """Hold the commit; only those that the named branch or tag contains are taken.

        GitError for any other, and where the repository cannot be asked.
        """
        if not _COMMIT.fullmatch(commit):
            raise GitError(f"{commit!r} is no full commit id")
        check_ref(ref)
        if self._holds(commit, ref):
            return
        self._fetch(ref)
        if not self._holds(commit, ref):
            raise GitError(f"commit {commit[:12]} is not in {ref} of {self._url}")

    def describe(self, commit: str, before: str | None) -> CommitDescription:
        """Author, message and changed paths of a commit that we hold, as they can be told."""
        # Not by `show`, which looks at the trees: they may be deeper than git itself can follow.
        asked = ("rev-list", "-1", "--no-commit-header", "--format=%ae%x00%s", commit)
        told = run_git(*asked, cwd=self.directory)
        author, _, message = told.decode(errors="replace").strip().partition("\0")
        paths = self._changed(commit, before)
        return CommitDescription(commit, shown(author), shown(message), paths)

    def _changed(self, commit: str, before: str | None) -> tuple[str, ...]:
        """None where they are too many to be told: some of them would pass for all."""
        try:
            # Git holds a whole difference in memory: a tree that never ends is found out before.
            listed = self._files(commit)
            if before is not None:
                self._files(before)
                options = ("-r", "-z", "--name-only", "--no-renames")
                listed = run_git("diff-tree", *options, before, commit, cwd=self.directory)
        except GitError:
            return ()
        if len(listed) > _LARGEST_CHANGE:
            return ()
        return tuple(filter(None, listed.decode(errors="replace").split("\0")))

    def _files(self, commit: str) -> bytes:
        """The paths of a commit, each ended by a zero; GitOutputError where they never end."""
        return run_git("ls-tree", "-r", "-z", "--name-only", commit, cwd=self.directory)

    def _holds(self, commit: str, ref: str) -> bool:
        if not (self.directory / "HEAD").exists():
            return False
        try:
            run_git("merge-base", "--is-ancestor", commit, ref, cwd=self.directory)
        except GitError:
            return False
        return True

    def _fetch(self, ref: str) -> None:
        self._repair()
        self._access.ask(
            *("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
            *("--", "{}", f"+{ref}:{ref}"),
            url=self._url,
            cwd=self.directory,
            timeout=_FETCH_SECONDS,
        )

    def _repair(self) -> None:
        """Make the mirror, or whole again what a git that was killed left of it.

        Only this process works here, so that any lock is one that was left.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        for left in self.directory.rglob("*.lock"):
            left.unlink(missing_ok=True)  # that git may be ending only now
        run_git("init", "-q", "--bare", ".", cwd=self.directory)


class Mirrors:
    """The mirrors of all repositories; git works in threads, on one mirror at a time.

    GitError where a repository cannot be asked, or lacks what it is asked for.
    """

    def __init__(self, directory: Path, access: GitAccess) -> None:
        self._directory = directory
        self._access = access
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def head(self, url: str, branch: str) -> str | None:
        return await asyncio.to_thread(remote_head, self._access, url, branch)

    async def tree(self, name: str, url: str, commit: str, ref: str) -> Tree:
        async with self._locks[name]:
            return await asyncio.to_thread(self._mirror(name, url).tree, commit, ref)

    async def describe(
        self, name: str, url: str, commit: str, ref: str, before: str | None
    ) -> CommitDescription:
        """Author, message and changed paths of a commit, fetched if need be."""
        mirror = self._mirror(name, url)
        async with self._locks[name]:
            await asyncio.to_thread(mirror.ensure, commit, ref)
            return await asyncio.to_thread(mirror.describe, commit, before)

    async def remove(self, name: str) -> None:
        async with self._locks[name]:
            await asyncio.to_thread(remove_tree, self._directory / f"{name}.git")

    def _mirror(self, name: str, url: str) -> Mirror:
        return Mirror(self._directory / f"{name}.git", url, self._access)
