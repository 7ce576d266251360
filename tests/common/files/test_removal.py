"""What others have written is removed whole, however they have written it."""

import os
import subprocess
import sys
from pathlib import Path

from loopwright_common.files.removal import remove_tree


def nest(directory: Path, levels: int, name: str) -> None:
    """Directories in each other, deeper than a path may name or a function may call itself."""
    script = (
        "import os, sys\nos.chdir(sys.argv[1])\n"
        "for _ in range(int(sys.argv[2])): os.mkdir(sys.argv[3]); os.chdir(sys.argv[3])\n"
        "open('leaf', 'w').close()"
    )
    subprocess.run([sys.executable, "-c", script, directory, str(levels), name], check=True)


def test_a_directory_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    written = tmp_path / "written"
    written.mkdir()
    nest(written, 1500, "d" * 50)
    nest(written, 1500, "e")
    (written / "beside").write_text("x")

    remove_tree(written)

    assert list(tmp_path.iterdir()) == []


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    written = tmp_path / "written"
    (written / "inner").mkdir(parents=True)
    (written / "inner" / "link").symlink_to(kept)
    (tmp_path / "other").symlink_to(kept)

    remove_tree(written)
    remove_tree(tmp_path / "other")

    assert not written.exists()
    assert [path.name for path in kept.iterdir()] == ["file"]


def test_what_was_closed_is_removed_also_by_an_ordinary_user(tmp_path: Path) -> None:
    written = tmp_path / "written"
    (written / "closed" / "inner").mkdir(parents=True)
    (written / "closed" / "inner" / "file").write_text("x")
    for folder in (written / "closed" / "inner", written / "closed", written):
        folder.chmod(0)
    if os.geteuid():
        remove_tree(written)
    else:
        for folder in (tmp_path, written, written / "closed", written / "closed" / "inner"):
            os.chown(folder, 65534, 65534)
        child = os.fork()
        if not child:
            os.chdir(tmp_path)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            remove_tree(Path("written"))
            os._exit(0)
        os.waitpid(child, 0)

    assert not written.exists()


def test_what_is_not_there_needs_no_removal(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
