"""Reading what others wrote: nothing leads out, whatever is swapped while it is read."""

import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_common.files import beneath
from loopwright_common.files.beneath import Beneath
from loopwright_common.storage import FilesystemStore, store_package

SECRET = b"somebody else's"


@pytest.fixture(params=["openat2", "part by part"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system call, and on a kernel without it."""
    if request.param != "openat2":
        monkeypatch.setattr(beneath, "_SYS_OPENAT2", 100_000)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "file").write_bytes(SECRET)
    return directory


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "place"
    (directory / "a" / "b").mkdir(parents=True)
    (directory / "a" / "b" / "file").write_bytes(b"ours")
    return directory


@pytest.mark.usefixtures("kernel")
def test_a_plain_file_is_read(place: Path) -> None:
    with Beneath(place) as opened, opened.open("a/b/file") as file:
        assert file.read() == b"ours"
        assert [path for path, _ in opened.walk()] == ["a/b/file"]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("path", ["../outside/file", "/etc/passwd", "a/../../outside/file"])
def test_a_path_that_leaves_is_refused(place: Path, outside: Path, path: str) -> None:
    assert (outside / "file").exists()
    with Beneath(place) as opened, pytest.raises(InvalidError, match="within the directory"):
        opened.open(path)


def fifo(path: Path, _outside: Path) -> None:
    os.mkfifo(path)


def listener(path: Path, _outside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))


def device(path: Path, _outside: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def hard_link(path: Path, outside: Path) -> None:
    os.link(outside / "file", path)


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def linked_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


ODD: dict[str, Callable[[Path, Path], None]] = {
    "a FIFO": fifo,
    "a socket": listener,
    "a device": device,
    "a hard link": hard_link,
    "a link": link,
    "link": linked_folder,
}


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("kind", ODD)
async def test_what_is_no_plain_file_is_an_error_that_names_it(
    place: Path, outside: Path, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    ODD[kind](place / "a" / "odd", outside)
    with Beneath(place) as opened:
        with pytest.raises(InvalidError, match="a/odd"):
            opened.open("a/odd")
        with pytest.raises(InvalidError, match=f"a/odd is .*{kind}"):
            await store_package(FilesystemStore(tmp_path / "store"), opened)


@pytest.mark.usefixtures("kernel")
def test_a_file_behind_a_link_or_absent_is_told(place: Path, outside: Path) -> None:
    (place / "c").symlink_to(outside)
    with Beneath(place) as opened:
        with pytest.raises(InvalidError, match="behind a link"):
            opened.open("c/file")
        with pytest.raises(NotFoundError, match="no a/none"):
            opened.open("a/none")


def test_a_directory_that_is_a_link_is_not_entered(place: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(place)
    with pytest.raises(OSError, match="alias"):
        Beneath(tmp_path / "alias")


@pytest.mark.parametrize(
    "name", ["two\nlines", "\x1b[2J", b"\xff".decode(errors="surrogateescape")]
)
async def test_a_name_that_is_not_shown_as_it_is_is_refused(
    place: Path, tmp_path: Path, name: str
) -> None:
    (place / name).write_text("x")
    with pytest.raises(InvalidError, match="control characters"):
        await store_package(FilesystemStore(tmp_path / "store"), place)


def test_a_directory_put_in_its_place_is_not_looked_at(place: Path, outside: Path) -> None:
    with Beneath(place) as opened:
        place.rename(place.with_name("gone"))
        outside.rename(place)
        assert [path for path, _ in opened.walk()] == ["a/b/file"]


def test_directories_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "/".join(["d"] * 100)).mkdir(parents=True)
    with Beneath(tmp_path) as opened, pytest.raises(InvalidError, match="deep"):
        list(opened.walk())


@pytest.mark.usefixtures("kernel")
async def test_who_swaps_folders_for_links_meanwhile_gets_nothing_out(
    place: Path, outside: Path, tmp_path: Path
) -> None:
    store = FilesystemStore(tmp_path / "store")
    whole = await store_package(store, place)
    told: set[str] = set()
    with swapping(place / "a" / "b", outside) as swapped:
        while not {whole, "InvalidError"} <= told or len(swapped) < 1000:
            try:
                told.add(await store_package(store, place))
            except (InvalidError, NotFoundError) as error:
                told.add(type(error).__name__)
    kept = [path.read_bytes() for path in (tmp_path / "store" / "sha256").rglob("*/*")]
    assert b"ours" in kept
    assert SECRET not in kept


@contextmanager
def swapping(folder: Path, outside: Path) -> Generator[list[None], None, None]:
    """A thread that puts a link in the folder's place and back, again and again; how often."""
    away, link = outside.with_name("away"), outside.with_name("link")
    link.symlink_to(outside)
    swapped: list[None] = []
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            folder.rename(away)
            link.rename(folder)
            folder.rename(link)
            away.rename(folder)
            swapped.append(None)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield swapped
    finally:
        stop.set()
        thread.join()
