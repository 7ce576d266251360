"""The exact bytes of a commit, and none outside of it."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_trainer.git import tree as trees
from loopwright_trainer.git.command import GitError
from loopwright_trainer.git.mirror import Mirror
from loopwright_trainer.git.remotes import GitAccess
from loopwright_trainer.git.tree import Tree
from tests.trainer.git.hostile_trees import commit_bomb, commit_entries
from tests.trainer.harness import Upstream

MAIN = "refs/heads/main"
LIMIT = 1 << 20


@pytest.fixture
def mirror(upstream: Upstream, tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror.git", str(upstream.path), GitAccess([tmp_path]))


@pytest.fixture(scope="module")
def upstream_module(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    repository = Upstream(tmp_path_factory.mktemp("links") / "upstream")
    repository.commit({"first": ""})
    return repository


def written(tree: Tree, directory: Path) -> dict[str, bytes]:
    tree.write(tree.entries.values(), directory, LIMIT)
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


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        (b"two\nlines", r"two\\nlines: it has characters that are not shown"),
        (b"esc\x1b[2J", r"esc\\x1b\[2J: it has characters that are not shown"),
        (b"a\xff", r"a\\udcff: it has characters that are not shown"),
        (b"d/" * 1500 + b"f", r"d/d/.*/f: it lies over 64 directories deep"),
        (b"d/" * 65 + b"f", "it lies over 64 directories deep"),
        ((b"x" * 200 + b"/") * 40 + b"f", "it has over 3072 bytes"),
        (b"n" * 256, "it has a name of over 255 bytes"),
        ("é".encode() * 128, "it has a name of over 255 bytes"),
        (b"n" * 1_000_000, "it has over 3072 bytes"),
    ],
)
def test_a_path_that_no_checkout_may_have_is_told_shortly_with_its_fault(
    upstream: Upstream, mirror: Mirror, path: bytes, fault: str
) -> None:
    commit = commit_entries(upstream, {path: b"x"})
    with pytest.raises(GitError, match=f"has the forbidden path .*{fault}") as told:
        mirror.tree(commit, MAIN)
    assert len(str(told.value)) < 500


def test_the_deepest_and_longest_paths_are_written(
    upstream: Upstream, mirror: Mirror, tmp_path: Path
) -> None:
    paths = {b"d/" * 64 + b"f": b"1", b"n" * 255: b"2", (b"x" * 254 + b"/") * 12 + b"f": b"3"}
    tree = mirror.tree(commit_entries(upstream, paths), MAIN)

    found = written(tree, tmp_path / "out")
    assert {path: found[path.decode()] for path in paths} == paths


def test_what_only_this_system_cannot_have_is_told_too(
    upstream: Upstream, mirror: Mirror, tmp_path: Path
) -> None:
    """Where a directory lies adds to the path."""
    commit = commit_entries(upstream, {(b"x" * 254 + b"/") * 12 + b"f": b"x"})
    with pytest.raises(GitError, match=r"/f cannot be written: File name too long"):
        written(mirror.tree(commit, MAIN), tmp_path / "/".join(["y" * 250] * 4))


def test_more_files_than_a_disk_holds_are_refused(upstream: Upstream, mirror: Mirror) -> None:
    with pytest.raises(GitError, match="too many files: at most 200,000"):
        mirror.tree(commit_bomb(upstream, levels=8), MAIN)


def test_very_many_files_in_one_directory_are_refused(upstream: Upstream, mirror: Mirror) -> None:
    commit = commit_bomb(upstream, levels=1, width=200_001)
    with pytest.raises(GitError, match="too many files: at most 200,000"):
        mirror.tree(commit, MAIN)


def test_more_bytes_than_a_stage_may_have_are_not_written(
    upstream: Upstream, mirror: Mirror, tmp_path: Path
) -> None:
    """Content that packs well may be larger than any disk."""
    commit = upstream.commit({"a": b"x" * (LIMIT - 500), "b": b"x" * (LIMIT - 500)})
    with pytest.raises(GitError, match=r"have over 1 MiB.*LOOPWRIGHT_TRAINER_STAGE_DISK"):
        written(mirror.tree(commit, MAIN), tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) <= LIMIT


def test_a_file_too_large_to_be_read_is_told(upstream: Upstream, mirror: Mirror) -> None:
    tree = mirror.tree(upstream.commit({"params.yaml": bytes((64 << 20) + 1)}), MAIN)
    with pytest.raises(GitError, match=r"params\.yaml has over 64 MiB"):
        tree.read("params.yaml")


@pytest.mark.parametrize("target", [b"", b"a\0b", b"a" * 4096])
def test_a_link_to_what_is_no_path_is_told(
    upstream: Upstream, mirror: Mirror, tmp_path: Path, target: bytes
) -> None:
    commit = commit_entries(upstream, {b"link": target}, links=True)
    with pytest.raises(GitError, match="the link link points to what is no path"):
        written(mirror.tree(commit, MAIN), tmp_path / "out")


def test_links_without_end_lead_nowhere(
    upstream: Upstream, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A circle, and a chain longer than any function may call itself."""
    chain = {b"c%d" % n: b"c%d" % (n + 1) for n in range(3000)}
    commit = commit_entries(upstream, {b"loop": b"loop", **chain}, links=True)
    tree = mirror.tree(commit, MAIN)
    written(tree, tmp_path / "out")
    assert (tmp_path / "out" / "loop").is_symlink()

    monkeypatch.setattr(trees, "_MOST_STEPS", 1000)
    with pytest.raises(GitError, match="lead on and on"):
        written(tree, tmp_path / "again")


def targets(*names: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from([*names, "d", "e", ".", ".."]), min_size=1).map("/".join)


# None in a circle: each leads through later ones alone.
LINKS = st.fixed_dictionaries(
    {},
    optional={
        "a": targets("b", "c", "x"),
        "b": targets("c", "x"),
        "c": targets("x"),
        "d/e/x": targets(),
        "d/x": targets(),
    },
)


@given(LINKS)
def test_a_link_is_refused_where_following_it_leads_out(
    upstream_module: Upstream, links: dict[str, str]
) -> None:
    """As Python's own resolution says of what is written."""
    commit = commit_entries(
        upstream_module, {name.encode(): to.encode() for name, to in links.items()}, links=True
    )
    tree = trees.read_tree(upstream_module.path, commit)
    entries = [tree.entries[name] for name in links]
    with TemporaryDirectory() as directory:
        root = Path(directory, "root").resolve()
        stays = False
        with suppress(GitError):
            tree.write(entries, root, LIMIT)
            stays = True
        assert stays == all((root / name).resolve().is_relative_to(root) for name in links)


def test_submodules_are_left_out(upstream: Upstream, mirror: Mirror) -> None:
    head = upstream.git("rev-parse", "HEAD")
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    upstream.git("commit", "-q", "-m", "sub")

    assert "sub" not in mirror.tree(upstream.git("rev-parse", "HEAD"), MAIN).entries
