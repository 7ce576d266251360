"""MLflow's scoring contract, held against a real `mlflow models serve` of the same packages."""

import json
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest

from loopwright_common.serving.spec import SPEC_FILE
from tests.scorer import packages
from tests.scorer.protocols.mlflow import invocation_cases, reference_server
from tests.scorer.protocols.mlflow.invocation_cases import ALIKE, OTHERWISE, ROW, Asked
from tests.scorer.serving import serving

_REQUESTS = 60
INSTANCES = {"instances": [ROW]}


class Pair(NamedTuple):
    """Two servers of one package; `path` is that of our model."""

    theirs: httpx.Client
    ours: httpx.Client
    path: str

    def ask(self, asked: Asked) -> tuple[httpx.Response, httpx.Response]:
        headers = {"content-type": asked[0]} if asked[0] else {}
        return (
            self.theirs.post("/invocations", content=asked[1], headers=headers),
            self.ours.post(f"{self.path}/invocations", content=asked[1], headers=headers),
        )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Pair]]:
    """By model: `mixed` has columns, `matrix` a tensor."""
    root = tmp_path_factory.mktemp("mlflow")
    made: dict[str, Path] = {
        "mixed": reference_server.mixed(root / "mixed"),
        "matrix": reference_server.matrix(root / "matrix"),
    }
    logged = [package.parent / "logged" for package in made.values()]
    with (
        reference_server.mlflow_serving(*logged) as peers,
        serving(made) as at,
        httpx.Client(base_url=f"http://{at}") as ours,
    ):
        yield {
            name: Pair(theirs, ours, f"/models/{name}")
            for name, theirs in zip(made, peers, strict=True)
        }


def told_apart(theirs: httpx.Response, ours: httpx.Response) -> str | None:
    """How two answers differ."""
    if theirs.status_code != ours.status_code:
        return f"{theirs.status_code} {theirs.text[-200:]} | {ours.status_code} {ours.text[:200]}"
    if theirs.status_code != 200:
        return None
    expected, found = (np.array(answer.json()["predictions"]) for answer in (theirs, ours))
    same = np.allclose(found, expected, 1e-5) if found.dtype.kind == "f" else (found == expected)
    return None if found.shape == expected.shape and np.all(same) else f"{expected} | {found}"


def differences(pair: Pair, asked: list[Asked]) -> list[tuple[Asked, str]]:
    return [(each, found) for each in asked if (found := told_apart(*pair.ask(each)))]


def requests() -> dict[str, tuple[str, list[Asked]]]:
    """Model and requests by what they try."""
    by_kind: dict[str, tuple[str, list[Asked]]] = {
        form: ("mixed", list(islice(invocation_cases.of_columns(form, seed=1), _REQUESTS)))
        for form in ("dataframe_split", "dataframe_records", "inputs", "instances", "csv")
    }
    by_kind["tensors"] = ("matrix", list(islice(invocation_cases.of_tensor(seed=1), 2 * _REQUESTS)))
    by_kind["broken and unusual ones"] = ("mixed", ALIKE)
    return by_kind


# One test: its servers take long to start, and tests of one file may run in several processes.
def test_answers_and_statuses_are_those_of_mlflow_but_where_it_is_on_purpose(
    pairs: dict[str, Pair], subtests: pytest.Subtests
) -> None:
    for about, (model, asked) in requests().items():
        with subtests.test(about):
            assert not differences(pairs[model], asked)
    pair = pairs["mixed"]
    for reason, (request, *statuses) in OTHERWISE.items():
        with subtests.test(reason):
            assert [answer.status_code for answer in pair.ask(request)] == statuses
    for path in ("ping", "health", "version"):
        with subtests.test(path):
            theirs, ours = pair.theirs.get(f"/{path}"), pair.ours.get(f"{pair.path}/{path}")
            assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)
            assert ours.headers["content-type"] == theirs.headers["content-type"]
    with subtests.test("what is no JSON and no CSV is refused as text"):
        theirs, ours = pair.ask(("text/plain", "x"))
        assert ours.headers["content-type"] == theirs.headers["content-type"]


@pytest.fixture(scope="module")
def http(package_dirs: dict[str, Path]) -> Generator[httpx.Client]:
    """Of two models, `low` and `high`."""
    served = {name: package_dirs[name] for name in ("low", "high")}
    with serving(served) as at, httpx.Client(base_url=f"http://{at}") as client:
        yield client


def test_a_version_by_number_answers_under_its_prediction_id(http: httpx.Client) -> None:
    answer = http.post("/models/low/versions/3/invocations", json=INSTANCES)

    assert answer.json() == {"predictions": ["no"]}
    assert "-v3-" in answer.headers["loopwright-prediction-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "says"),
    [
        ("POST", "/models/nobody/invocations", 404, "RESOURCE_DOES_NOT_EXIST", "served: high, low"),
        ("POST", "/models/low@best/invocations", 404, "RESOURCE_DOES_NOT_EXIST", "best"),
        ("POST", "/models/low/versions/8/invocations", 404, "RESOURCE_DOES_NOT_EXIST", "only 3"),
        ("GET", "/models/nobody/ping", 404, "RESOURCE_DOES_NOT_EXIST", "served: high, low"),
        ("GET", "/models/low/nothing", 404, "RESOURCE_DOES_NOT_EXIST", "/invocations, /ping"),
        ("GET", "/models/low/invocations", 405, "BAD_REQUEST", "use POST"),
        ("POST", "/models/low/ping", 405, "BAD_REQUEST", "use GET"),
        ("POST", "/invocations", 400, "BAD_REQUEST", "served: high, low; name one in the hea"),
    ],
)
def test_every_refusal_has_mlflows_shape(
    http: httpx.Client, method: str, path: str, status: int, code: str, says: str
) -> None:
    body = INSTANCES if method == "POST" else None
    answer = http.request(method, path, json=body)

    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert says in answer.json()["message"]


def test_at_the_root_a_header_names_the_model(http: httpx.Client) -> None:
    answer = http.post("/invocations", json=INSTANCES, headers={"loopwright-model": "high"})

    assert answer.json() == {"predictions": ["yes"]}
    assert http.get("/ping", headers={"loopwright-model": "nobody"}).status_code == 404
    assert http.get("/health").status_code == 200


def test_at_the_root_the_only_model_answers(package_dirs: dict[str, Path]) -> None:
    with serving({"low": package_dirs["low"]}) as at, httpx.Client(base_url=f"http://{at}") as http:
        assert http.post("/invocations", json=INSTANCES).json() == {"predictions": ["no"]}
        assert http.get("/ping").text == "\n"


@pytest.mark.parametrize(
    ("predicts", "expected"), [("chance", [0.25]), ("probabilities", [[0.75, 0.25]])]
)
def test_a_package_whose_predict_gives_chances_is_answered_with_them(
    tmp_path: Path, predicts: str, expected: list[object]
) -> None:
    package = packages.brittle(tmp_path / "package")
    told = json.loads((package / SPEC_FILE).read_text())
    (package / SPEC_FILE).write_text(json.dumps({**told, "predicts": predicts}))

    with serving({"low": package}) as at, httpx.Client(base_url=f"http://{at}") as http:
        assert http.post("/invocations", json=INSTANCES).json() == {"predictions": expected}
