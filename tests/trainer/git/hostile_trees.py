"""Commits that git's own commands would not make; its objects can hold them."""

import subprocess
from collections.abc import Mapping

from tests.trainer.harness import FILES, Upstream

_LINK, _FILE, _FOLDER = "120000", "100644", "040000"


def commit_entries(upstream: Upstream, paths: Mapping[bytes, bytes], *, links: bool = False) -> str:
    """Commit files, or links, beside those that are there, whatever their paths are."""
    lines = []
    for path, content in paths.items():
        quoted = "".join(f"\\{byte:03o}" for byte in path)
        lines.append(f'M {_LINK if links else _FILE} inline "{quoted}"\n'.encode())
        lines.append(b"data %d\n%s\n" % (len(content), content))
    head = upstream.git("rev-parse", "HEAD")
    before = b"commit refs/heads/main\ncommitter A <a@b> 1700000000 +0000\ndata 0\nfrom %s\n"
    _piped(upstream, "fast-import", "--quiet", given=b"".join([before % head.encode(), *lines]))
    return upstream.git("rev-parse", "refs/heads/main")


def commit_bomb(upstream: Upstream, levels: int, width: int = 10) -> str:
    """Commit a few trees that name each other, and so stand for `width ** levels` files."""
    blob = _piped(upstream, "hash-object", "-w", "--stdin", given=b"x")
    tree = _tree(upstream, {f"{n}": (_FILE, "blob", blob) for n in range(width)})
    for _ in range(levels - 1):
        tree = _tree(upstream, {f"{n}": (_FOLDER, "tree", tree) for n in range(width)})
    entries = {"bomb": (_FOLDER, "tree", tree)}
    for name in FILES:
        entries[name] = (_FILE, "blob", upstream.git("rev-parse", f"HEAD:{name}"))
    return commit_tree(upstream, _tree(upstream, entries))


def commit_tree(upstream: Upstream, tree: str) -> str:
    commit = upstream.git("commit-tree", tree, "-p", "HEAD", "-m", "hostile")
    upstream.git("update-ref", "refs/heads/main", commit)
    return commit


def commit_described(upstream: Upstream, author: bytes, message: bytes) -> str:
    """Commit the files that are there, as somebody with a name of any bytes."""
    lines = [
        b"tree %s" % upstream.git("rev-parse", "HEAD^{tree}").encode(),
        b"parent %s" % upstream.git("rev-parse", "HEAD").encode(),
        b"author A <%s> 1700000000 +0000" % author,
        b"committer A <%s> 1700000000 +0000" % author,
        b"",
        message,
    ]
    made = ("hash-object", "-t", "commit", "-w", "--literally", "--stdin")
    commit = _piped(upstream, *made, given=b"\n".join(lines))
    upstream.git("update-ref", "refs/heads/main", commit)
    return commit


def _tree(upstream: Upstream, entries: Mapping[str, tuple[str, str, str]]) -> str:
    lines = [f"{mode} {kind} {id_}\t{name}\0" for name, (mode, kind, id_) in entries.items()]
    return _piped(upstream, "mktree", "-z", given="".join(lines).encode())


def _piped(upstream: Upstream, *command: str, given: bytes) -> str:
    done = subprocess.run(
        ["git", *command], cwd=upstream.path, input=given, capture_output=True, check=True
    )
    return done.stdout.decode().strip()
