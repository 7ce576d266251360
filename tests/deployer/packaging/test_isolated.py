"""Packages that are served from a process of their own: what is granted, and what it becomes."""

import json
import pickle
import random
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from river import linear_model, preprocessing
from sklearn.ensemble import RandomForestClassifier

from loopwright_common.database import Cause
from loopwright_common.errors import InvalidError
from loopwright_common.serving.river_package import save
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_common.storage import fetch_package, store_package
from loopwright_common.storage.filesystem import FilesystemStore
from loopwright_deployer.deployments.repository import DeploymentRecord
from loopwright_deployer.packaging.build import PackagingJob, build_package
from loopwright_deployer.packaging.formats.skops import VARIABLE
from loopwright_deployer.packaging.isolated import GRANT, Grant
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.models.loaded_model import load
from loopwright_scorer.tensors.example_rows import example_of
from tests.deployer.builders import (
    COLUMNS,
    customers,
    deployment,
    pipeline,
    registered,
    with_example,
)
from tests.deployer.controllers import staging_runner
from tests.deployer.foreign_packages import PLOUGH, ploughed
from tests.deployer.staging.scorers import staging_scorer
from tests.scorer.isolated_packages import wheel, wheels

CAUSE = Cause("chain", (), "")
ROWS = [[30, 0.5, "nurse"], [60, -0.5, "clerk"]]


def drafted(source: Path, grant: Grant) -> ServingSpec:
    """What the packaging process makes of it, in this one."""
    target = source.parent / "target"
    return build_package(PackagingJob(source, target, "sha256:" + "1" * 64, grant=grant))


async def packed(source: Path, *, granted: bool = False) -> ServingSpec:
    """The serving package in `target` beside it, made as the deployer makes it."""
    directory, target = source.parent, source.parent / "target"
    store = FilesystemStore(directory / "artifacts")
    digest = await store_package(store, source)
    record = DeploymentRecord(deployment(), registered(1, digest=digest), CAUSE)
    runner = staging_runner(directory, pickles=granted)
    try:
        done = await runner.package(record)
    finally:
        await runner.close()
    await fetch_package(store, done.served.digest, target)
    return ServingSpec.model_validate_json((target / SPEC_FILE).read_text())


def pickled(
    directory: Path,
    model: Any,
    flavors: dict[str, Any] | None = None,
    columns: list[dict[str, Any]] = COLUMNS,
) -> Path:
    """As the mlflow client lays out a scikit-learn pickle."""
    directory.mkdir(parents=True)
    (directory / "model.pkl").write_bytes(pickle.dumps(model))
    (directory / "requirements.txt").write_text(
        "# what it was made with\nmlflow==3\nscikit-learn\n"
    )
    sklearn = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
    content = {
        "flavors": flavors or {"sklearn": sklearn, "python_function": {}},
        "signature": {"inputs": json.dumps(columns)},
    }
    (directory / "MLmodel").write_text(json.dumps(content))
    names = [column["name"] for column in columns]
    return with_example(directory, names, [row[: len(names)] for row in ROWS])


def learner() -> Any:
    made = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    draw = random.Random(1)  # noqa: S311
    for _ in range(200):
        row = {"a": draw.gauss(0, 1), "b": draw.random()}
        made.learn_one(row, row["a"] > 0)
    return made


def test_a_pickle_is_refused_with_the_better_way_and_the_grant(tmp_path: Path) -> None:
    source = pickled(tmp_path / "source", pipeline())

    with pytest.raises(InvalidError, match="skops") as refused:
        drafted(source, Grant("bank"))

    assert f"names bank in {GRANT}" in str(refused.value)


def test_a_package_cannot_grant_itself(tmp_path: Path) -> None:
    source = pickled(tmp_path / "source", pipeline())
    content = json.loads((source / "MLmodel").read_text())
    content["metadata"] = {"loopwright": {"pickle": True, "grant": {"pickle": True}}}
    (source / "MLmodel").write_text(json.dumps(content))

    with pytest.raises(InvalidError, match=GRANT):
        drafted(source, Grant("bank"))


async def test_a_granted_pickle_is_described_by_its_own_process_and_staged(tmp_path: Path) -> None:
    spec = await packed(pickled(tmp_path / "source", pipeline()), granted=True)

    assert (spec.format, spec.task, spec.classes) == ("isolated", "classifier", [0, 1])
    assert spec.isolated is not None
    assert spec.isolated.requirements == ["scikit-learn", "pandas"]
    async with staging_scorer(tmp_path, tmp_path / "target", "bank", 1) as url:
        names = {"age": "INT64", "rate": "FP64", "job": "BYTES"}
        inputs = [
            {"name": name, "datatype": kind, "shape": [2], "data": [row[i] for row in ROWS]}
            for i, (name, kind) in enumerate(names.items())
        ]
        async with httpx.AsyncClient(base_url=url) as http:
            answer = await http.post("/v2/models/bank/infer", json={"inputs": inputs})
    frame, _ = customers(1)
    frame = type(frame)(ROWS, columns=list(frame.columns))
    expected = pipeline().predict_proba(frame).ravel().tolist()
    probabilities = {one["name"]: one["data"] for one in answer.json()["outputs"]}["probabilities"]
    assert probabilities == pytest.approx(expected)


async def test_river_as_json_needs_no_grant(tmp_path: Path) -> None:
    source = save(learner(), tmp_path / "source", [{"a": 0.5, "b": 0.1}])

    spec = await packed(source)

    assert (spec.task, spec.classes) == ("classifier", [False, True])
    assert spec.isolated is not None
    assert spec.isolated.loader == "river"
    assert [column.type for column in spec.columns or ()] == ["double", "double"]


def test_river_as_a_pickle_needs_the_grant(tmp_path: Path) -> None:
    source = pickled(tmp_path / "source", learner(), {"river": {"model": "model.pkl"}})

    with pytest.raises(InvalidError, match=GRANT):
        drafted(source, Grant("bank"))


def test_a_learner_that_is_no_plain_state_is_not_saved_as_json(tmp_path: Path) -> None:
    own: Any = linear_model.LogisticRegression()
    own.kept = lambda row: row

    with pytest.raises(InvalidError, match="pickle only"):
        save(own, tmp_path / "source", [{"a": 0.5}])


async def test_an_estimator_of_a_foreign_module_runs_on_what_its_package_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ploughed(tmp_path / "source", "plough==1.0", "borrowed")
    made = wheels(tmp_path / "wheels")
    wheel(made, "plough", "1.0", {"plough.py": PLOUGH})
    wheel(made, "skops", "99.0", {})
    for name, value in {"OFFLINE": "1", "NO_INDEX": "1", "FIND_LINKS": str(made)}.items():
        monkeypatch.setenv(f"UV_{name}", value)
    monkeypatch.setenv(VARIABLE, "plough.Plough")

    spec = await packed(source)

    assert spec.isolated is not None
    assert (spec.task, spec.isolated.loader, spec.trusted) == (
        "regressor",
        "skops",
        ["plough.Plough"],
    )
    assert spec.isolated.requirements == ["plough==1.0", "borrowed", "skops"]
    assert "an environment of its own" in (spec.parity or "")


async def test_a_foreign_module_that_is_not_required_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "plough.Plough")

    with pytest.raises(InvalidError, match=r"No module named 'plough'.*pip_requirements"):
        await packed(ploughed(tmp_path / "source"))


async def test_a_pickle_of_two_labels_answers_them_without_probabilities(tmp_path: Path) -> None:
    frame, labels = customers(100)
    numbers, both = frame[["age", "rate"]], np.stack([labels, 1 - labels], axis=1)
    model = RandomForestClassifier(n_estimators=2).fit(numbers, both)
    source = pickled(tmp_path / "source", model, columns=COLUMNS[:2])

    spec = await packed(source, granted=True)
    served = load(tmp_path / "target", "", IsolationConfig(tmp_path / "isolated"))
    outputs = served.predict(example_of(served.spec, served.signature)).outputs

    assert (spec.targets, spec.classes) == (2, [[0, 1], [0, 1]])
    assert outputs is not None
    assert [each.name for each in outputs.tensors()] == ["label"]
    assert outputs.label is not None
    expected = model.predict(type(frame)([row[:2] for row in ROWS], columns=numbers.columns))
    assert outputs.label.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://elsewhere.example",
        "-r more.txt",
        "thing @ https://elsewhere.example/t.whl",
    ],
)
def test_a_package_does_not_say_where_packages_come_from(tmp_path: Path, line: str) -> None:
    source = pickled(tmp_path / "source", pipeline())
    (source / "requirements.txt").write_text(line + "\n")

    with pytest.raises(InvalidError, match="told to the deployer and the scorer"):
        drafted(source, Grant("bank", pickle=True))
