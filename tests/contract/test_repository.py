"""What people and machines read of the repository names things that are there."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("services/*/README.md"))]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
FILES = [
    path.relative_to(ROOT).as_posix()
    for base in ("apps", "benchmarks", "libs", "services", "tests")
    for path in (ROOT / base).rglob("*.py")
]
_OF_USERS = ("loopwright.yaml", "dvc.yaml")
_PYTHON = re.compile(r"[\w\-/]+\.py(?![\w/])")
_PATH = re.compile(r"`([\w.\-/<>]+/[\w.\-/<>]*|[\w\-]+\.(?:py|md|toml|yaml))`")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_guide_names_paths_that_are_there(guide: Path) -> None:
    """From the root, or from anywhere below the sources that the guide is about."""
    packages = [*guide.parent.glob("src/*"), *guide.parent.glob("services/*/src/*")]
    named = [path for path in _PATH.findall(guide.read_text()) if not _is_no_path(path)]
    missing = [path for path in named if not _exists(path, packages)]

    assert missing == []


def _is_no_path(name: str) -> bool:
    """Whether it is a route of an API, a URL, a name on a network or of a file that users write."""
    return name.startswith(("/", "<")) or "//" in name or name in _OF_USERS


def _exists(path: str, packages: list[Path]) -> bool:
    """A part in angle brackets stands for any name; modules may go without `.py`."""
    pattern = re.sub(r"<[^>]*>", "*", path).strip("/")
    found = [name for each in (pattern, f"{pattern}.py") for name in ROOT.glob(each)]
    below = [name for each in (pattern, f"{pattern}.py") for place in packages
             for name in place.rglob(each)]  # fmt: skip
    return bool(found or below)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_names_python_files_that_are_there(page: Path) -> None:
    """With as much of the path as the page gives."""
    named = set(_PYTHON.findall(page.read_text()))
    missing = {name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in FILES)}

    assert missing == set()


def test_the_hooks_are_valid_and_call_what_is_installed() -> None:
    config = ROOT / ".pre-commit-config.yaml"
    subprocess.run([ROOT / ".venv/bin/pre-commit", "validate-config", config], check=True)
    (hooks,) = [repo["hooks"] for repo in yaml.safe_load(config.read_text())["repos"]]
    programs = {hook["entry"].split()[0] for hook in hooks}

    assert [name for name in programs if not (ROOT / name).exists()] == []


def test_the_workflow_calls_what_a_person_calls() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["check-and-test"]["steps"]

    assert steps[-1]["run"] == "bash .ci/run"


def test_every_package_is_in_the_workspace_and_in_the_import_contracts() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = {
        path.parent.name for base in ("apps", "libs", "services")
        for path in ROOT.glob(f"{base}/*/src/*/__init__.py")
    }  # fmt: skip
    layered = {
        container
        for contract in settings["contracts"]
        if contract["type"] == "layers" and contract.get("exhaustive")
        for container in contract["containers"]
    }

    assert set(settings["root_packages"]) == packages
    assert packages - layered == set()
