"""The files of one commit: what they are, and their exact bytes written out."""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from loopwright_common.names import has_control_characters
from loopwright_trainer.git.command import GitError, git_command, git_environment, run_git

_LINK, _SUBMODULE, _EXECUTABLE = "120000", "160000", "100755"


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
        """Content of a tracked file, or None where there is none."""
        entry = self.entries.get(path)
        if entry is None or entry.mode == _LINK:
            return None
        return run_git("cat-file", "blob", entry.blob, cwd=self.mirror)

    def write(self, entries: Iterable[TreeEntry], directory: Path) -> None:
        """Write files as committed: no filters, no line-end changes, no links out of the tree.

        GitError for a link that leads out of `directory`. Links come last: nothing is written
        through one, and where they lead is asked once all of them are there.
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
                for entry in wanted:
                    _write_one(entry, _next_blob(process.stdout, entry), directory)
        for entry in wanted:
            if entry.mode == _LINK:
                _check_link(directory / entry.path, directory)


def read_tree(mirror: Path, commit: str) -> Tree:
    """The commit's files; GitError for paths that no checkout may have."""
    listed = run_git("ls-tree", "-r", "-z", "--full-tree", commit, cwd=mirror)
    listing = listed.decode(errors="surrogateescape")
    entries: dict[str, TreeEntry] = {}
    for line in filter(None, listing.split("\0")):
        described, path = line.split("\t", 1)
        mode, _, blob = described.split(" ")
        if _is_forbidden(path):
            raise GitError(f"commit {commit[:12]} has the forbidden path {path!r}")
        if mode != _SUBMODULE:
            entries[path] = TreeEntry(path, mode, blob)
    for path in entries:
        if any(str(above) in entries for above in PurePosixPath(path).parents):
            raise GitError(f"commit {commit[:12]} has {path!r} below what is no directory")
    return Tree(mirror, commit, entries)


def _is_forbidden(path: str) -> bool:
    """Names that no checkout may have, or that are not shown as they are."""
    parts = path.lower().split("/")
    return bool({"", ".", "..", ".git"} & set(parts)) or has_control_characters(path)


def digest_of_entries(entries: Iterable[TreeEntry]) -> str:
    """One digest for a set of tracked files: their paths, modes and contents."""
    listed = json.dumps(sorted(entries), separators=(",", ":"))
    return "tree:" + hashlib.sha256(listed.encode()).hexdigest()


def _next_blob(stream: IO[bytes], entry: TreeEntry) -> bytes:
    header = stream.readline().decode().split()
    if len(header) != 3:
        raise GitError(f"git has lost the content of {entry.path}")
    return stream.read(int(header[2]) + 1)[:-1]


def _write_one(entry: TreeEntry, content: bytes, directory: Path) -> None:
    target = directory / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if entry.mode == _LINK:
        target.symlink_to(os.fsdecode(content))
        return
    target.write_bytes(content)
    if entry.mode == _EXECUTABLE:
        target.chmod(0o700)


def _check_link(link: Path, directory: Path) -> None:
    try:
        inside = link.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError):  # it leads round in a circle
        inside = True
    if not inside or link.readlink().is_absolute():
        raise GitError(f"the link {link.relative_to(directory)} points out of the repository")
