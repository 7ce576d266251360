"""The house stays one that a newcomer finds the way in: folders, names, docstrings, tests."""

import ast
import builtins
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    path.name: path
    for base in ("apps", "libs", "services")
    for path in ROOT.glob(f"{base}/*/src/*")
    if path.is_dir()
}
MOST_MODULES = 14
MOST_SHARED_NAMES = 10
_GENERATED = ("_pb2.py",)


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Dotted names and files, without migrations and generated code."""
    source = SOURCES[package]
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        if "migrations" not in parts and not path.name.endswith(_GENERATED):
            yield ".".join(parts).removesuffix(".__init__"), path


EVERY_MODULE = {name: path for package in SOURCES for name, path in modules(package)}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@pytest.mark.parametrize("package", SOURCES)
def test_no_folder_has_more_modules_than_can_be_taken_in(package: str) -> None:
    sizes = Counter(path.parent for _, path in modules(package))
    large = {str(p.relative_to(ROOT)): n for p, n in sizes.items() if n > MOST_MODULES}

    assert large == {}


def test_hardly_any_class_name_means_two_things() -> None:
    defined = defaultdict(list)
    for name, path in EVERY_MODULE.items():
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined[node.name].append(name)
    shared = {name: places for name, places in defined.items() if len(places) > 1}

    assert len(shared) <= MOST_SHARED_NAMES, shared


def test_docstrings_are_sentences_with_a_subject() -> None:
    fragments = [
        f"{name}: {text.splitlines()[0]}"
        for name, path in EVERY_MODULE.items()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := ast.get_docstring(node) or "").startswith(("Of ", "In "))
    ]

    assert fragments == []


def test_docstrings_name_errors_that_there_are() -> None:
    """Whoever reads what a function raises can write the `except` from it."""
    known = {name for name in vars(builtins) if name.endswith("Error")}
    for path in EVERY_MODULE.values():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef | ast.alias):
                known.add(node.name.rpartition(".")[2])
            elif isinstance(node, ast.Attribute):
                known.add(node.attr)
    unknown = {
        f"{name}: {error}"
        for name, path in EVERY_MODULE.items()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for error in re.findall(r"\b[A-Z]\w*Error\b", str(node.value.value))
        if error not in known
    }

    assert unknown == set()


def imports_of(nodes: list[ast.stmt], name: str) -> Iterator[str]:
    """Modules of ours that these statements import."""
    for node in nodes:
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            target = full if full in EVERY_MODULE else node.module
            if target in EVERY_MODULE and target != name:
                yield target


@cache
def reached_from(name: str) -> frozenset[str]:
    """What is imported when the module is, itself included."""
    seen, left = {name}, [name]
    while left:
        current = left.pop()
        for target in imports_of(tree_of(EVERY_MODULE[current]).body, current):
            if target not in seen:
                seen.add(target)
                left.append(target)
    return frozenset(seen)


def test_no_import_is_hidden_in_a_function_to_break_a_circle() -> None:
    """One that only spares the start a heavy import may be; it could stand at the top."""
    hidden = [
        f"{name} imports {target}"
        for name, path in EVERY_MODULE.items()
        for function in ast.walk(tree_of(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for target in imports_of([n for n in ast.walk(function) if isinstance(n, ast.stmt)], name)
        if name in reached_from(target)
    ]

    assert hidden == []


@pytest.mark.parametrize("package", sorted(SOURCES))
def test_a_test_file_is_named_after_the_module_it_tests(package: str) -> None:
    """What tells a story of several modules lies in `scenarios/`."""
    tests = ROOT / "tests" / ("app" if package == "loopwright" else package.split("_", 1)[-1])
    strays = [
        str(path.relative_to(ROOT))
        for path in sorted(tests.rglob("test_*.py"))
        if "scenarios" not in path.parts and not _has_module(package, path.relative_to(tests))
    ]

    assert strays == []


def _has_module(package: str, test: Path) -> bool:
    """`bus/test_topics.py` tests `bus/topics.py`; `test_bus.py` may test all of a folder `bus`."""
    name = test.stem.removeprefix("test_")
    target = SOURCES[package] / test.parent / name
    return target.with_suffix(".py").exists() or (target / "__init__.py").exists()
