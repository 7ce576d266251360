"""What a stage leaves is its own, plain and whole, or the stage fails and says what is not."""

import os
from pathlib import Path

import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.files.beneath import Beneath
from loopwright_common.storage import FilesystemStore
from loopwright_trainer.steps.outputs import (
    MissingOutputError,
    numeric_leaves,
    read_metrics,
    store_output,
)
from loopwright_trainer.steps.workspace import changed_inputs, fingerprint
from tests.trainer.harness import PIPELINE, TrainerHarness, Upstream

SWAPS = "import os\nos.rmdir('a')\nos.symlink({!r}, 'a')\n"


async def test_no_output_comes_from_outside(
    trainer: TrainerHarness, upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("canary")
    upstream.commit(
        {
            "prepare.py": SWAPS.format(str(tmp_path / "outside")),
            "loopwright.yaml": PIPELINE.replace("base.txt", "a/file"),
        }
    )
    run = await trainer.add(upstream)

    assert run["why"].startswith("prepare: out a/file: a/file is or lies behind a link"), run
    kept = [path.read_bytes() for path in (tmp_path / "artifacts" / "sha256").rglob("*/*")]
    assert b"canary" not in kept


async def test_metrics_are_read_as_outputs_are(tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text('{"a": 1}')
    work = tmp_path / "work"
    work.mkdir()
    (work / "link.json").symlink_to(tmp_path / "outside.json")
    (work / "large.json").write_text(" " * (1 << 20) + "{}")
    (work / "own.json").write_text('{"a": {"b": 1.5}}')
    with Beneath(work) as workspace:
        assert await read_metrics(workspace, "own.json") == {"a.b": 1.5}
        with pytest.raises(InvalidError, match="link"):
            await read_metrics(workspace, "link.json")
        with pytest.raises(InvalidError, match="larger than 1 MB"):
            await read_metrics(workspace, "large.json")
        with pytest.raises(MissingOutputError, match=r"metrics none\.json"):
            await read_metrics(workspace, "none.json")


def bomb(element: str, first: str) -> str:
    """A YAML file whose aliases name each other."""
    nines = (element.format(n, ", ".join([f"*a{n - 1}"] * 9)) for n in range(1, 12))
    return "\n".join([first, *nines])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("m.yaml", bomb("a{0}: &a{0} [{1}]", "a0: &a0 [1]"), "too many or too deeply"),
        ("m.yaml", bomb("a{0}: &a{0} {{<<: [{1}]}}", "a0: &a0 {x: 1}"), "too many or too deeply"),
        ("m.yaml", f"[{'1, ' * 10_001}]", "holds over 10000 values"),
        ("m.json", "[" * 100_000, "cannot be read"),
        ("m.json", "[" * 900 + "]" * 900, "no name of a metric"),
        ("m.json", '{"a": 1' + "0" * 400 + "}", "cannot be read: int too large"),
        ("m.json", '{"' + "a" * 251 + '": 1}', "a is no name of a metric"),
        ("m.json", '{"\\ud800": 1}', r"\\ud800 is no name of a metric"),
        ("m.json", '{"\\u0000": 1}', r"\\x00 is no name of a metric"),
    ],
)
def test_metrics_that_nothing_can_keep_are_told(name: str, content: str, complaint: str) -> None:
    with pytest.raises(InvalidError, match=complaint):
        numeric_leaves(content.encode(), name)


def test_long_names_in_each_other_are_told_before_they_fill_the_memory() -> None:
    """A file of 1 MB could have ten thousand names of half a megabyte each."""
    inner = ",".join(f'"{n}": 1' for n in range(9_000))
    with pytest.raises(InvalidError, match="no name of a metric"):
        numeric_leaves(f'{{"{"a" * 500_000}": {{{inner}}}}}'.encode(), "m.json")


async def test_a_file_that_is_part_of_an_out_is_named(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "weights").symlink_to("/etc/passwd")
    with Beneath(tmp_path) as workspace, pytest.raises(InvalidError, match="out package: weights"):
        await store_output(FilesystemStore(tmp_path / "store"), workspace, "package")


def test_an_input_that_became_something_else_is_changed(tmp_path: Path) -> None:
    for name in ("kept", "linked", "piped", "edited", "removed"):
        (tmp_path / name).write_text(name)
    with Beneath(tmp_path) as workspace:
        before = fingerprint(workspace, [])
        (tmp_path / "linked").unlink()
        (tmp_path / "linked").symlink_to("kept")
        (tmp_path / "piped").unlink()
        os.mkfifo(tmp_path / "piped")
        (tmp_path / "edited").write_text("otherwise")
        (tmp_path / "removed").unlink()
        (tmp_path / "new").write_text("")
        changed = changed_inputs(before, workspace)
    assert sorted(changed) == ["edited", "linked", "piped", "removed"]


def test_a_file_that_only_seems_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("input")
    with Beneath(tmp_path) as workspace:
        before = fingerprint(workspace, [])
        os.truncate(tmp_path / "input", 1 << 42)
        with (tmp_path / "new").open("wb") as file:
            file.truncate(1 << 42)
        assert changed_inputs(before, workspace) == ["input"]


@pytest.mark.parametrize("name", ["two\nlines", "a\udcff"])
async def test_what_a_stage_may_not_leave_is_told_by_a_name_that_is_shown(
    tmp_path: Path, name: str
) -> None:
    """Nothing keeps or prints the name itself."""
    (tmp_path / "out" / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "out" / name / "fifo")
    with Beneath(tmp_path) as workspace, pytest.raises(InvalidError, match="is a FIFO") as told:
        await store_output(FilesystemStore(tmp_path / "store"), workspace, "out")
    assert str(told.value).isprintable()
    (tmp_path / name / "/".join(["d"] * 70)).mkdir(parents=True)
    with Beneath(tmp_path) as workspace, pytest.raises(InvalidError, match="64 direct") as told:
        fingerprint(workspace, [])
    assert str(told.value).isprintable()
