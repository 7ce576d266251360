"""The files of one commit: what they are, and their exact bytes written out."""

import errno
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from loopwright_common.names import has_control_characters, path_fault, shown
from loopwright_trainer.git.command import (
    LARGEST_OUTPUT,
    GitError,
    GitOutputError,
    git_command,
    git_environment,
    run_git,
)

_LINK, _SUBMODULE, _EXECUTABLE = "120000", "160000", "100755"
_MOST_FILES = 200_000
_LONGEST_LINK = 4095
_MOST_FOLLOWED = 40
"""Links after which Linux calls it a circle."""
_MOST_STEPS = 1_000_000
_CHUNK = 1 << 20
_UNFIT = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EILSEQ}
)
"""What a system says of a path that it cannot have, whatever the state that it is in."""


class TreeEntry(NamedTuple):
    """A tracked file: POSIX path, git's mode, and the id of its content."""

    path: str
    mode: str
    blob: str


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of `commit`; submodules are left out."""

    mirror: Path
    commit: str
    entries: Mapping[str, TreeEntry]

    def under(self, path: str) -> list[TreeEntry]:
        """The file at `path`, or every file below it, sorted by path."""
        if path in self.entries:
            return [self.entries[path]]
        prefix = "" if path == "." else f"{path}/"
        return sorted(entry for name, entry in self.entries.items() if name.startswith(prefix))

    def read(self, path: str) -> bytes | None:
        """Content of a tracked file, or None where there is none; GitError for one too large."""
        entry = self.entries.get(path)
        if entry is None or entry.mode == _LINK:
            return None
        try:
            return run_git("cat-file", "blob", entry.blob, cwd=self.mirror)
        except GitOutputError:
            limit = LARGEST_OUTPUT >> 20
            raise GitError(f"{path} has over {limit} MiB, too many to be read here") from None

    def write(self, entries: Iterable[TreeEntry], directory: Path, limit: int) -> None:
        """Write files as committed: no filters, no line-end changes, no links out of the tree.

        GitError for a link that leads out of `directory`, for what no directory can hold, and where
        all have more than `limit` bytes. Links come last: nothing is written through one, and where
        they lead is asked once all of them are there.
        """
        wanted = sorted(entries, key=lambda entry: (entry.mode == _LINK, entry.path))
        if not wanted:
            return
        with tempfile.TemporaryFile() as ids:
            ids.write("".join(f"{entry.blob}\n" for entry in wanted).encode())
            ids.seek(0)
            with subprocess.Popen(
                git_command(["cat-file", "--batch"]),
                cwd=self.mirror,
                env=git_environment(),
                stdin=ids,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as process:
                if process.stdout is None:
                    raise GitError("git cat-file gives no output")
                written = 0
                for entry in wanted:
                    size = _next_size(process.stdout, entry)
                    written += size
                    if written > limit:
                        raise GitError(
                            f"files of commit {self.commit[:12]} have over {limit >> 20} MiB, more "
                            "than a stage may have (LOOPWRIGHT_TRAINER_STAGE_DISK)"
                        )
                    _write_one(entry, size, process.stdout, directory)
        _check_links([entry for entry in wanted if entry.mode == _LINK], directory)


def read_tree(mirror: Path, commit: str) -> Tree:
    """The commit's files; GitError for paths that no checkout may have, and for too many of them.

    Nothing is written yet, and a commit is refused as a whole: whoever takes a part of it depends
    on nothing else, but its checks see all of it.
    """
    entries: dict[str, TreeEntry] = {}
    for line in _listing(mirror, commit):
        described, path = line.split("\t", 1)
        mode, _, blob = described.split(" ")
        if fault := _fault(path):
            raise GitError(f"commit {commit[:12]} has the forbidden path {shown(path)}: it {fault}")
        if mode != _SUBMODULE:
            entries[path] = TreeEntry(path, mode, blob)
    for path in entries:
        if any(str(above) in entries for above in PurePosixPath(path).parents):
            raise GitError(f"commit {commit[:12]} has {path!r} below what is no directory")
    return Tree(mirror, commit, entries)


def _listing(mirror: Path, commit: str) -> list[str]:
    """A line for each file; GitError where there are too many: a few trees that name each other can
    stand for more files than any disk holds.
    """
    try:
        listed = run_git("ls-tree", "-r", "-z", "--full-tree", commit, cwd=mirror)
    except GitOutputError:
        listed = b"\0" * (_MOST_FILES + 1)
    if listed.count(b"\0") > _MOST_FILES:
        raise GitError(
            f"commit {commit[:12]} has too many files: at most {_MOST_FILES:,}, with "
            f"{LARGEST_OUTPUT >> 20} MiB of paths"
        )
    return listed.decode(errors="surrogateescape").split("\0")[:-1]


def _fault(path: str) -> str | None:
    """Why no checkout may have the path, or it would not be shown as it is."""
    if {"", ".", "..", ".git"} & set(path.lower().split("/")):
        return "has a part that is no name of a file"
    if has_control_characters(path):
        return "has characters that are not shown"
    return path_fault(path)


@contextmanager
def unfit_paths_told(path: str) -> Generator[None]:
    """GitError where the system cannot have what a commit wants at the path, beside what else it
    wants there. Other faults, such as a full disk, are the machine's.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNFIT:
            raise
        raise GitError(f"{shown(path)} cannot be written: {error.strerror}") from None


def digest_of_entries(entries: Iterable[TreeEntry]) -> str:
    """One digest for a set of tracked files: their paths, modes and contents."""
    listed = json.dumps(sorted(entries), separators=(",", ":"))
    return "tree:" + hashlib.sha256(listed.encode()).hexdigest()


def _next_size(stream: IO[bytes], entry: TreeEntry) -> int:
    header = stream.readline().decode().split()
    if len(header) != 3:
        raise GitError(f"git has lost the content of {entry.path}")
    return int(header[2])


def _write_one(entry: TreeEntry, size: int, stream: IO[bytes], directory: Path) -> None:
    target = directory / entry.path
    with unfit_paths_told(entry.path):
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.mode == _LINK:
            target.symlink_to(_link_target(entry, size, stream))
        else:
            _copy(stream, size, target)
    stream.read(1)
    if entry.mode == _EXECUTABLE:
        target.chmod(0o700)


def _copy(stream: IO[bytes], size: int, target: Path) -> None:
    with target.open("wb") as file:
        while size:
            chunk = stream.read(min(size, _CHUNK))
            if not chunk:
                raise GitError(f"git ended within {target.name}")
            file.write(chunk)
            size -= len(chunk)


def _link_target(entry: TreeEntry, size: int, stream: IO[bytes]) -> str:
    target = stream.read(size) if 0 < size <= _LONGEST_LINK else b"\0"
    if b"\0" in target:
        raise GitError(f"the link {entry.path} points to what is no path")
    return os.fsdecode(target)


def _check_links(links: Iterable[TreeEntry], directory: Path) -> None:
    """GitError for a link out of the directory, and where following all of them takes very long."""
    steps = 0
    for link in links:
        *at, _ = link.path.split("/")
        waiting, followed = _parts(os.readlink(directory / link.path)), 1
        while waiting and followed <= _MOST_FOLLOWED:
            steps += 1
            if steps > _MOST_STEPS:
                raise GitError("the links of the commit lead on and on; have fewer of them")
            part = waiting.pop()
            if part == "/" or (part == ".." and not at):
                raise GitError(f"the link {link.path} points out of the repository")
            if part == "..":
                at.pop()
            elif target := _link_at(directory, (*at, part)):
                waiting += _parts(target)
                followed += 1
            else:
                at.append(part)


def _parts(target: str) -> list[str]:
    """The last first, and `/` alone for the root."""
    names = [name for name in target.split("/") if name not in ("", ".")]
    return [*reversed(names), *(["/"] if target.startswith("/") else [])]


def _link_at(directory: Path, parts: Sequence[str]) -> str | None:
    try:
        return os.readlink(directory.joinpath(*parts))
    except OSError:
        return None
