"""What a new user does first, with the README, an unmodified mlflow client and curl.

One running system for all of it; each test has models of its own, but the first two, which follow
one model through its first and its second version.
"""

import hashlib
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks import project
from sklearn.datasets import load_digits

from loopwright.client import PORTS
from tests.e2e.exposure import Exposure, files_with
from tests.e2e.user import SCORING, SECRETS, TOKEN, User, open_to_others, until, with_system

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
LOG = """
import mlflow, pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression

rows = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0, 0.0]})
labels = [0, 0, 1, 1]

def log(name, fitted, **more):
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            fitted, name="model", registered_model_name=name,
            pip_requirements=["scikit-learn", "skops"], **more
        )
"""
ODD = """
log("pickled", LogisticRegression().fit(rows, labels),
    input_example=rows, serialization_format="pickle")
log("unsigned", LogisticRegression().fit(rows, labels))
log("price", LinearRegression().fit(rows, rows["a"] + 1), input_example=rows)
"""
AGAIN = """
import mlflow, pandas as pd
fitted = mlflow.sklearn.load_model("models:/churn@champion")
rows = pd.DataFrame({"age": [30.0, 60.0], "plan": ["pro", "basic"]})
with mlflow.start_run():
    mlflow.sklearn.log_model(
        fitted, name="model", registered_model_name="churn", input_example=rows,
        pip_requirements=["scikit-learn", "skops"]
    )
print(*mlflow.pyfunc.load_model("models:/churn@champion").predict(rows))
"""
COMMANDS = [
    *("repositories list", "runs list", "runs show latest", "models list", "models show churn"),
    *("models show churn@champion", "deployments list", "deployments show churn/2"),
    *(
        "deployments plan latest",
        "deployments report churn/2",
        "events list",
        "why churn",
        "monitor status",
    ),
    *("captured list", "dead-letters list", "doctor"),
]
RUN_TOKEN = "run-t0ken-that-nobody-may-see"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
REFUSED_REPOSITORIES = {
    "leaky": f"https://bob:{TOKEN}@git.invalid/x.git",
    "leaking": f"https://git.invalid/x?t={TOKEN}",
    "private": "https://git.invalid/private.git",
    "keyed": "ssh://git@git.invalid/x.git",
}


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Generator[User, None, None]:
    with with_system(tmp_path_factory.mktemp("user")) as user:
        yield user


def test_the_readmes_blocks_work_as_printed(user: User) -> None:
    user.python(user.printed_in_readme("python", "log_model"))
    waited = user.loopwright("deployments", "wait", "churn/1", "--timeout", "600")
    assert "the first version goes live" in waited

    shown = user.run("sh", "-ec", user.printed_in_readme("sh", "feedback"))
    assert '"classes":["no","yes"]' in shown.stdout, shown.stderr
    assert "loopwright-prediction-id: " in shown.stdout
    assert '"accepted":1,"unknown":[]' in shown.stdout
    until("the row is captured and labelled", lambda: captured(user, "churn") == (1, 1))
    assert "model-registered" in user.loopwright("why", "churn")


def test_a_second_version_waits_for_traffic_and_is_promoted_by_it(user: User) -> None:
    assert user.python(AGAIN).splitlines()[-1] == "no yes"
    until("version 2 waits", lambda: states(user).get(("churn", 2)) == "canary")
    shown = ("deployments", "show", "churn/2")
    until(
        "it says what it waits for",
        lambda: "no request has come to the new version" in user.loopwright(*shown),
    )
    assert "10%, 50% of the traffic" in user.loopwright("deployments", "plan", "churn/2")

    until("live traffic promotes it", lambda: "2" in ask(user) and champion(user, "churn") == 2)
    assert "promoted over version 1" in user.loopwright("why", "churn")
    undone = user.loopwright("deployments", "undo", "churn", "--reason", "it felt wrong")
    assert "it felt wrong; back to version 1" in undone
    until("version 1 serves", lambda: ask(user) == {"1"} and champion(user, "churn") == 1)
    assert "churn version 2 rolled back" in user.loopwright("why", "churn")
    refused = user.loopwright("deployments", "abort", "churn/2", status=1)
    assert "abort needs one of" in refused


def test_every_way_to_ask_works_as_printed(user: User) -> None:
    for source in user.printed_in(SCORING, "python"):
        assert user.python(source)
    for commands in user.printed_in(SCORING, "sh"):
        shown = user.run("sh", "-ec", commands)
        assert shown.returncode == 0, shown.stderr
        assert (
            '"outputs"' in shown.stdout
            or '"predictions"' in shown.stdout
            or "accepted" in shown.stdout
        )
        assert "error" not in shown.stdout
    page = user.http.get(f"{user.url('scorer')}/models/churn/docs")
    assert page.is_success


def test_what_cannot_be_served_says_why(user: User) -> None:
    user.python(LOG + ODD)
    pickled = user.loopwright("deployments", "wait", "pickled/1", status=1)
    assert "flavor sklearn is not served" in pickled
    assert "serialization_format='skops'" in pickled
    unsigned = user.loopwright("deployments", "wait", "unsigned/1", status=1)
    assert "infer_signature" in unsigned

    user.loopwright("deployments", "wait", "price/1", "--timeout", "600")
    answer = user.infer("price", a=("FP64", [2], [1, 2]), b=("FP64", [2], [0, 0]))
    assert answer["outputs"][0]["name"] == "prediction"
    assert answer["outputs"][0]["data"] == pytest.approx([2, 3], abs=1e-4)


def test_the_digits_example_reads_images(user: User) -> None:
    user.loopwright("init", "digits", "--example", "digits")
    user.loopwright("repositories", "add", "digits", "digits")
    user.loopwright("deployments", "wait", "digits/1", "--timeout", "600")

    images, digits = load_digits(return_X_y=True)
    answer = user.infer("digits", input=("FP64", [20, 64], images[:20].ravel().tolist()))
    right = answer["outputs"][0]["data"] == digits[:20]
    assert right.mean() >= 0.8
    story = user.loopwright("why", "digits/1")
    assert story.index("code-changed") < story.index("accuracy") < story.index("promoted")


def test_a_failing_run_says_where_and_leaves_nothing(user: User) -> None:
    repository = project.write(user.directory / "trying", "trying")
    works = (repository / "loopwright.yaml").read_text()
    project.commit(repository, "Work")
    user.loopwright("repositories", "add", "trying", "trying")
    user.loopwright("deployments", "wait", "trying/1", "--timeout", "600")

    said = failing(user, repository, "package.py", "import nonsense\n")
    assert "package: `python package.py` ended with exit code 1" in said
    assert "No module named 'nonsense'" in said
    said = failing(user, repository, "loopwright.yaml", works + "checks: [exit 3]\n")
    assert "check: exit 3" in said
    assert "not reached" in said
    said = failing(user, repository, "loopwright.yaml", works.replace("outs:", "outz:"))
    assert "loopwright.yaml:6:" in said
    assert "stages.package.outz: unknown key; did you mean outs?" in said
    assert [v["version"] for v in user.json("models", "show", "trying")["versions"]] == [1]

    repository.rename(user.directory / "gone")
    told = user.loopwright("repositories", "changed", "trying", status=1)
    assert "does not appear to be a git repository" in told
    until("the next look sees it, too", lambda: bool(troubled(user)))
    assert "trying: git" in user.loopwright("doctor")


def test_every_command_speaks_json(user: User) -> None:
    for command in COMMANDS:
        assert user.json(*command.split())


def test_lists_are_for_people_without_it(user: User) -> None:
    assert "captured" in user.loopwright("monitor", "status", "churn")
    assert user.loopwright("captured", "list").splitlines()[0].startswith("model")
    assert "flavor sklearn is not served" in user.loopwright("deployments", "list")
    assert "registered digits version 1" in user.loopwright("runs", "list")


def test_a_second_system_beside_it_says_what_is_in_the_way(user: User) -> None:
    assert "is in use by another `loopwright up`" in user.loopwright("up", status=1)
    elsewhere = user.loopwright("up", "--data-dir", "elsewhere", status=1)
    assert f"port {user.ports['registry']} of the registry" in elsewhere
    assert "LOOPWRIGHT_REGISTRY_PORT" in elsewhere


def test_everything_in_the_data_directory_is_private(user: User) -> None:
    data = user.directory / ".loopwright"
    kept = {path.name for path in data.rglob("*")}
    assert {"registry.db", "registry.db-wal", "digits.git"} <= kept
    assert open_to_others(data) == {}


def test_no_secret_is_ever_answered_or_logged(user: User) -> None:
    data = user.directory / ".loopwright"
    exposure = Exposure(user.http, {service: user.url(service) for service in PORTS})
    for name, url in REFUSED_REPOSITORIES.items():
        exposure.told[f"add {name}"] = user.loopwright("repositories", "add", name, url, status=1)
    _own_a_run(exposure)
    exposure.walk()
    assert sum(status == 200 for status in exposure.statuses.values()) > 50
    with _moved_away(data / "artifacts"):
        exposure.ask("registry", "GET", "/readyz", "without a store")
        exposure.ask("registry", "PUT", f"{ARTIFACTS}/x", "without a store", content=b"x")
    exposure.told["log"] = user.log.read_text()

    assert len(exposure.told) > 150
    for secret in (*SECRETS, RUN_TOKEN):
        assert [by for by, text in exposure.told.items() if secret in text] == []
        assert files_with(secret, data) == []


def _own_a_run(exposure: Exposure) -> None:
    """A run with a token of its own, written to with it and with another."""
    create = "/api/2.0/mlflow/runs/create"
    exposure.ask("registry", "POST", create, json={"experiment_id": "0"})
    run = json.loads(exposure.last)["run"]["info"]["run_id"]
    digest = hashlib.sha256(RUN_TOKEN.encode()).hexdigest()
    for attempt, token, wanted in ((1, RUN_TOKEN, 200), (2, "another", 403), (1, RUN_TOKEN, 409)):
        status = exposure.ask(
            "registry",
            "PUT",
            f"/v1/runs/{run}/token",
            f"attempt {attempt} by {token[:1]}",
            json={"attempt": attempt, "sha256": digest},
            headers={"authorization": f"Bearer {token}"},
        )
        assert status in (200, wanted), (attempt, status)
    for token in (RUN_TOKEN, "another"):
        exposure.ask(
            "registry",
            "POST",
            "/api/2.0/mlflow/runs/set-tag",
            token[:1],
            json={"run_id": run, "key": "a", "value": "b"},
            headers={"authorization": f"Bearer {token}"},
        )


@contextmanager
def _moved_away(directory: Path) -> Generator[None]:
    aside = directory.rename(directory.with_name("aside"))
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        aside.rename(directory)


def test_nothing_was_lost_on_the_way(user: User) -> None:
    assert user.json("dead-letters", "list") == {"items": []}
    assert "Traceback" not in user.log.read_text()


def states(user: User) -> dict[tuple[str, int], str]:
    """Each version's newest deployment."""
    listed = reversed(user.items("deployer", "/v1/deployments"))
    return {(each["model"], each["version"]): each["state"] for each in listed}


def champion(user: User, model: str) -> int | None:
    listed = user.items("deployer", "/v1/deployments")
    return next((d["version"] for d in listed if d["model"] == model and d["champion"]), None)


def captured(user: User, model: str) -> tuple[int, int]:
    found = user.http.get(f"{user.url('monitor')}/v1/captured/{model}").json()
    return found["rows"], found["labelled"]


def ask(user: User, calls: int = 40) -> set[str]:
    """The versions that answered some calls."""
    told = {"age": ("FP64", [1], [42]), "plan": ("BYTES", [1], ["pro"])}
    return {user.infer("churn", **told)["model_version"] for _ in range(calls)}


def failing(user: User, repository: Path, file: str, text: str) -> str:
    """What `runs show` says of a commit with this file, which is put back afterwards."""
    before = (repository / file).read_text()
    (repository / file).write_text(text)
    commit = project.commit(repository, f"Change {file}")
    (repository / file).write_text(before)
    user.loopwright("repositories", "changed", "trying")
    until("the run has failed", lambda: (commit, "failed") in statuses(user))
    return user.loopwright("runs", "show", commit)


def statuses(user: User) -> list[tuple[str, str]]:
    return [(run["commit"], run["status"]) for run in user.items("trainer", "/v1/runs")]


def troubled(user: User) -> list[str]:
    return [r["name"] for r in user.items("trainer", "/v1/repositories") if r["problem"]]
