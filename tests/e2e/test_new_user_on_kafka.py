"""What a new user does on Kafka and PostgreSQL: what the README prints, and Ctrl-C."""

import re
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.e2e.test_new_user import captured
from tests.e2e.user import LOOPWRIGHT, README, User, open_to_others, until, with_system

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
UP = ["--engine", "kafka"]


@pytest.fixture(scope="module")
def user() -> Generator[User, None, None]:
    # Not in pytest's own directory, which it closes to PostgreSQL's user.
    with TemporaryDirectory(prefix="loopwright-") as directory:
        with with_system(Path(directory), *UP) as user:
            yield user
        assert children_in(Path(directory)) == []


def test_the_command_is_the_one_in_the_readme() -> None:
    assert re.search(rf"^loopwright up {' '.join(UP)}\b", README.read_text(), re.MULTILINE)


def test_the_readmes_blocks_work_here_too(user: User) -> None:
    user.python(user.printed_in_readme("python", "log_model"))
    user.loopwright("deployments", "wait", "churn/1", "--timeout", "600")

    shown = user.run("sh", "-ec", user.printed_in_readme("sh", "feedback"))
    assert '"accepted":1,"unknown":[]' in shown.stdout, shown.stderr
    until("the row is captured and labelled", lambda: captured(user, "churn") == (1, 1))
    assert "model-registered" in user.loopwright("why", "churn")


def test_the_doctor_asks_both_engines(user: User) -> None:
    found = {item["name"]: item for item in user.json("doctor")["items"]}
    assert {item["state"] for item in found.values()} == {"well"}, found
    assert "answers at 127.0.0.1:" in found["kafka"]["detail"]
    assert found["postgresql"]["detail"].startswith("18")


def test_what_both_engines_keep_is_private_too(user: User) -> None:
    data = user.directory / ".loopwright"
    kept = {path.name for path in data.rglob("*")}
    assert {"PG_VERSION", "server.properties", "scorer.log"} <= kept
    # The server is somebody else where root started it; its sockets are behind a closed door.
    assert {p: m for p, m in open_to_others(data).items() if ".s.PGSQL" not in p} == {}


def test_a_service_that_dies_is_replaced_and_work_goes_on(user: User) -> None:
    scorer = next(p for p in children_in(user.directory) if "loopwright_scorer.main" in p.cmdline())
    scorer.kill()
    until("its end is told", lambda: "scorer ended (SIGKILL)" in user.log.read_text())
    until("every prediction is answered again", lambda: user.is_ready("scorer"))
    ask = user.printed_in_readme("sh", "feedback").replace("call-1", "call-2")
    assert "loopwright-prediction-id: " in user.run("sh", "-ec", ask).stdout


def test_the_other_engine_refuses_the_directory(user: User, tmp_path: Path) -> None:
    assert "is in use by another" in user.loopwright("up", *UP, status=1)
    (tmp_path / "engine").write_text("kafka\n")
    refused = user.loopwright("up", "--data-dir", str(tmp_path), status=1)
    assert "was made by the engine kafka" in refused


def test_interrupted_while_it_starts_it_leaves_nothing(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([LOOPWRIGHT, "up", *UP], cwd=tmp_path, stdout=log, stderr=log)
    until("an engine starts", lambda: len(children_in(tmp_path)) > 0)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0, (tmp_path / "log").read_text()
    assert children_in(tmp_path) == []


def children_in(directory: Path) -> list[psutil.Process]:
    """Processes that work in the data directory, or are told of it."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [process.cwd(), *process.cmdline()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(directory / ".loopwright") in each for each in told):
            found.append(process)
    return found
