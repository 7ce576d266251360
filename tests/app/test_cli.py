"""Exit status 0 when done, 1 with the reason, 2 for wrong usage."""

import json
from pathlib import Path

import httpx
import pytest

from loopwright.client import complaint
from loopwright.data_dir import Engine, locked
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


@pytest.mark.usefixtures("no_services")
def test_doctor_names_every_service_that_is_away(loopwright: Run) -> None:
    done = loopwright("doctor", "--json")
    found = {item["name"]: item["state"] for item in json.loads(done.output)["items"]}
    assert done.exit_code == 1
    assert found["registry"] == found["monitor"] == "bad"
    assert found["git"] == "well"


@pytest.mark.usefixtures("no_services")
def test_doctor_asks_the_engines_of_a_directory_that_they_made(
    loopwright: Run, tmp_path: Path
) -> None:
    def engines() -> dict[str, str]:
        done = loopwright("doctor", "--json", "--data-dir", str(tmp_path))
        found = {item["name"]: item for item in json.loads(done.output)["items"]}
        assert "Kafka 4" in found["engines"]["detail"]
        return {name: found[name]["state"] for name in ("kafka", "postgresql") if name in found}

    assert engines() == {}
    with locked(tmp_path, Engine.KAFKA):
        assert engines() == {"kafka": "bad", "postgresql": "bad"}


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


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"title": "Conflict", "status": 409, "detail": "it is final"}, "trainer: it is final"),
        ({"error_code": "X", "message": "no such model"}, "trainer: no such model"),
        ({"error": "unknown model"}, "trainer: unknown model"),
        ([], "trainer: []"),
    ],
)
def test_a_refusal_is_told_in_the_services_own_words(body: object, said: str) -> None:
    assert complaint("trainer", httpx.Response(409, json=body)) == said
