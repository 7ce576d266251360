"""Exit status 0 when done, 1 with the reason, 2 for wrong usage."""

import json
from pathlib import Path

import pytest

from tests.app.conftest import Run

COMMANDS = [
    ("repositories", "list"),
    ("runs", "list"),
    ("runs", "show", "latest"),
    ("models", "list"),
    ("models", "show", "bank@champion"),
    ("deployments", "list"),
    ("deployments", "promote", "latest"),
    ("deployments", "undo", "bank"),
    ("events", "list"),
    ("captured", "list"),
    ("monitor", "status"),
    ("dead-letters", "list"),
    ("why", "bank"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.usefixtures("no_services")
def test_a_service_that_is_not_running_is_one_clear_sentence(
    loopwright: Run, command: tuple[str, ...]
) -> None:
    done = loopwright(*command)
    assert done.exit_code == 1
    assert "does not answer at http://127.0.0.1:1" in done.output
    assert "loopwright up" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "command",
    [
        ("no-such-command",),
        ("why",),
        ("runs", "list", "--limit", "0"),
        ("init", "x", "--example", "y"),
    ],
)
def test_wrong_usage_ends_with_two(loopwright: Run, command: tuple[str, ...]) -> None:
    assert loopwright(*command).exit_code == 2


def test_init_says_where_and_which_commit(loopwright: Run, tmp_path: Path) -> None:
    done = loopwright("init", str(tmp_path / "digits"), "--example", "digits", "--json")
    told = json.loads(done.output)
    assert done.exit_code == 0
    assert told["example"] == "digits"
    assert len(told["commit"]) == 40


def test_init_refuses_a_directory_in_use_with_the_reason(loopwright: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = loopwright("init", str(tmp_path))
    assert done.exit_code == 1
    assert "is not empty" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "kafka", "--replicas", "scorer"], "SERVICE=COUNT"),
        (["--engine", "kafka", "--replicas", "scorers=2"], "SERVICE=COUNT"),
        (["--replicas", "scorer=2"], "has one of each"),
    ],
)
def test_replicas_that_cannot_be_are_refused(
    loopwright: Run, arguments: list[str], said: str
) -> None:
    done = loopwright("up", *arguments)
    assert done.exit_code == 2
    assert said in done.output
