"""What libraries and the system say of a failure is told to others without where our files lie."""

import ast
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from loopwright_common.errors import LoopwrightError, described, without_paths
from loopwright_common.model_files import check_model_file
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_deployer.packaging.isolated import Grant
from loopwright_deployer.packaging.sources.mlmodel import read_source
from loopwright_deployer.packaging.verification import verified_spec
from loopwright_scorer.models.loaded_model import load
from loopwright_trainer.git.command import run_git
from loopwright_trainer.tracking.datasets import extent_of
from tests.contract.test_house import EVERY_MODULE, tree_of
from tests.scorer.packages import numeric

_FOREIGN = {
    "OSError", "Exception", "BaseException", "ArrowException", "BadZipFile", "BaseError",
    "YAMLError", "PermissionError", "FileNotFoundError", "KafkaError", "DBAPIError",
}  # fmt: skip
"""Kinds of errors that name files."""
_OF_THE_MACHINES_OWNER = (
    "loopwright.", "loopwright_common.sandbox.", "loopwright_common.egress.socks_client",
    "loopwright_common.process.runtime",
)  # fmt: skip
"""Who reads what these say: the command line, the log and the end of a process."""


def test_errors_that_name_files_are_said_without_their_folders() -> None:
    said = [
        f"{module}:{line}"
        for module, path in EVERY_MODULE.items()
        if not module.startswith(_OF_THE_MACHINES_OWNER)
        for handler in ast.walk(tree_of(path))
        if isinstance(handler, ast.ExceptHandler) and _kinds(handler.type) & _FOREIGN
        for line in _told(handler)
    ]

    assert said == []


def _kinds(caught: ast.expr | None) -> set[str]:
    if isinstance(caught, ast.Tuple):
        return set().union(*(_kinds(one) for one in caught.elts))
    if isinstance(caught, ast.Name):
        return {caught.id}
    return {caught.attr} if isinstance(caught, ast.Attribute) else set()


def _told(handler: ast.ExceptHandler) -> Iterator[int]:
    """Lines in which a handler puts its error into words, but for the log."""
    left: list[ast.AST] = list(handler.body)
    while left:
        node = left.pop()
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Compare) or called.startswith("log."):
            continue
        if isinstance(node, ast.Call):
            if called in ("str", "repr") and _names(node.args[0], handler.name):
                yield node.lineno
        elif isinstance(node, ast.FormattedValue) and _names(node.value, handler.name):
            yield node.lineno
        left.extend(ast.iter_child_nodes(node))


def _names(value: ast.expr, error: str | None) -> bool:
    """Whether it is the error, or what the driver of a database said."""
    if isinstance(value, ast.Attribute) and value.attr == "orig":
        value = value.value
    return isinstance(value, ast.Name) and value.id == error


async def _store(place: Path) -> None:
    store = FilesystemStore(place / "store")
    (place / "store" / "incoming").rmdir()
    await store.put(b"x")


async def _store_readiness(place: Path) -> None:
    store = FilesystemStore(place / "store")
    (place / "store" / "incoming").rmdir()
    await store.check()


def _model_of_a_package(place: Path) -> None:
    package = numeric(place / "package")
    (package / "model.onnx").unlink()
    load(package, "")


def _directory(place: Path) -> Path:
    (place / "model.skops").mkdir()
    return place / "model.skops"


def _parquet(place: Path) -> Path:
    (place / "rows.parquet").write_bytes(b"no Parquet")
    return place / "rows.parquet"


FAILING: dict[str, Callable[[Path], object]] = {
    "keep an artifact": _store,
    "ask whether the store is well": _store_readiness,
    "serve no package": lambda place: load(place / "none", ""),
    "serve a package without its model": _model_of_a_package,
    "check a model that is a directory": lambda p: check_model_file(_directory(p), "sklearn-skops"),
    "package a directory": read_source,
    "verify a package": lambda place: verified_spec(place, "", Grant("", False)),
    "start git": lambda place: run_git("status", cwd=place / "none"),
    "ask git": lambda place: run_git("clone", str(place / "none"), str(place / "to")),
    "read a dataset": lambda place: extent_of(_parquet(place), "rows.parquet"),
    "read a dataset that is gone": lambda place: extent_of(place / "none", "rows.parquet"),
}


async def _attempt(fail: Callable[[Path], object], place: Path) -> None:
    going = fail(place)
    if isinstance(going, Awaitable):
        await going


@pytest.mark.parametrize("what", FAILING)
async def test_no_error_says_where_our_files_lie(what: str, tmp_path: Path) -> None:
    place = tmp_path / "of the service"
    place.mkdir()

    with pytest.raises(LoopwrightError) as raised:
        await _attempt(FAILING[what], place)

    assert "of the service" not in str(raised.value)
    assert str(tmp_path) not in str(raised.value)


def test_a_dead_letter_does_not_say_where_our_files_lie() -> None:
    error = OSError(28, "No space left on device", "/srv/loop wright/trainer.db")

    assert described(error) == "OSError: No space left on device: 'trainer.db'"


@pytest.mark.parametrize(
    ("said", "without"),
    [
        ("Load model from /srv/x/model.onnx failed", "Load model from model.onnx failed"),
        ("no '/srv/a b/z.parquet' -> \"/srv/it's/y\"", "no 'z.parquet' -> 'y'"),
        ("file:///srv/artifacts/x is gone", "x is gone"),
        ("unix:/var/run/s.sock", "unix:s.sock"),
        ("see https://example.org/a/b, and/or 3 / 4", "see https://example.org/a/b, and/or 3 / 4"),
        ("", ""),
    ],
)
def test_a_text_keeps_all_but_folders(said: str, without: str) -> None:
    assert without_paths(said) == without
