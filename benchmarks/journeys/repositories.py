"""Git repositories as people have them: what each lacks of the shipped example is in its name.

Each is one script that reads a table, fits and saves a model, and a parameter that is edited. None
fixes a seed of its library, so a model that is trained again differs a little.
"""

import csv
import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sklearn.datasets import load_breast_cancer

from benchmarks.project import commit, git
from loopwright.examples import Example, write_example
from loopwright_common.errors import InvalidError

_BANK = "data/base.csv.gz"
_PIPELINE = """model: {name}
stages:
  train:
    cmd: python train.py
    deps: [train.py, data/rows.csv]
    params: [train]
    outs: [work]
register:
  package: work/model
  training: work/training.parquet
  holdout: work/holdout.parquet
  target: y
"""
_DVC = """stages:
  train:
    cmd: python train.py
    deps:
      - train.py
      - data/rows.csv
    params:
      - train
    outs:
      - work
"""
_TRAIN = """import mlflow
import pandas as pd
import yaml
from mlflow.models import infer_signature
from sklearn.model_selection import train_test_split
{imports}

params = yaml.safe_load(open("params.yaml"))["train"]
rows = pd.read_csv("data/rows.csv")
training, holdout = train_test_split(rows, test_size=0.25, random_state=0)
inputs = training.drop(columns="y")
model = {estimator}.fit(inputs, training["y"])
mlflow.{flavor}.save_model(
    model,
    "work/model",
    signature=infer_signature(inputs, model.predict(inputs)),
    input_example=inputs.head(5),
    pip_requirements={requirements},{more}
)
training.to_parquet("work/training.parquet")
holdout.to_parquet("work/holdout.parquet")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository to be written; `edit` is the text of its parameters that a later commit has.

    `rows` are rows that callers may ask about, by column.
    """

    name: str
    write: Callable[[Path], object]
    parameter: str
    edit: str
    rows: Callable[[], Sequence[Mapping[str, str]]]

    def change(self, directory: Path) -> str:
        """Edit the one parameter and commit; returns the commit's hash."""
        file = directory / "params.yaml"
        before = file.read_text()
        after = before.replace(self.parameter, self.edit)
        if after == before:
            raise InvalidError(f"{self.name}: params.yaml has no {self.parameter}")
        file.write_text(after)
        return commit(directory, f"Try {self.edit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Script:
    """What makes one script differ from another."""

    imports: str
    estimator: str
    flavor: str
    requirements: Sequence[str]
    parameters: str
    more: str = ""
    pipeline: str = _PIPELINE

    def write(self, directory: Path, name: str, rows: Sequence[Mapping[str, str]]) -> None:
        (directory / "data").mkdir(parents=True)
        with (directory / "data" / "rows.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        script = _TRAIN.format(
            imports=self.imports,
            estimator=self.estimator,
            flavor=self.flavor,
            requirements=list(self.requirements),
            more=self.more,
        )
        (directory / "train.py").write_text(script)
        (directory / "params.yaml").write_text(self.parameters)
        (directory / ".gitignore").write_text("/work\n")
        file_name = "dvc.yaml" if self.pipeline == _DVC else "loopwright.yaml"
        (directory / file_name).write_text(self.pipeline.format(name=name))
        git(directory, "init", "--quiet", "--initial-branch=main")
        commit(directory, "Train a model")


def _bank_rows(*left_out: str) -> Sequence[Mapping[str, str]]:
    directory = Path(__file__).parents[2] / "apps/loopwright/src/loopwright/examples/bank"
    with gzip.open(directory / _BANK, "rt") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in left_out} for row in rows]


def _calls() -> Sequence[Mapping[str, str]]:
    """Numbers of the bank's calls, and as `y` whether the client subscribed."""
    words = ("job", "marital", "education", "default", "housing", "loan", "contact", "month")
    rows = _bank_rows(*words, "poutcome", "duration")
    return [{**row, "y": "1" if row["y"] == "yes" else "0"} for row in rows]


def _tumours() -> Sequence[Mapping[str, str]]:
    """Measurements of tumours, and as `y` whether one is benign."""
    table = load_breast_cancer()
    names = [name.replace(" ", "_") for name in table.feature_names]
    return [
        {**dict(zip(names, map(str, row), strict=True)), "y": str(label)}
        for row, label in zip(table.data.tolist(), table.target.tolist(), strict=True)
    ]


_FOREST = _Script(
    imports="from sklearn.ensemble import RandomForestClassifier",
    estimator='RandomForestClassifier(n_estimators=60, max_depth=params["max_depth"])',
    flavor="sklearn",
    requirements=("scikit-learn", "skops", "pandas"),
    parameters="train:\n  max_depth: 6\n",
    more='\n    skops_trusted_types=["sklearn.tree._tree.Tree"],',
)
_LIGHTGBM = _Script(
    imports="from lightgbm import LGBMClassifier",
    estimator="LGBMClassifier(subsample=0.8, subsample_freq=1, verbose=-1, **params)",
    flavor="lightgbm",
    requirements=("lightgbm", "scikit-learn", "pandas"),
    parameters="train:\n  n_estimators: 60\n  learning_rate: 0.05\n",
)
_XGBOOST = _Script(
    imports="from xgboost import XGBClassifier",
    estimator="XGBClassifier(subsample=0.8, **params)",
    flavor="xgboost",
    requirements=("xgboost", "scikit-learn", "pandas"),
    parameters="train:\n  n_estimators: 60\n  learning_rate: 0.05\n  max_depth: 4\n",
)
_LOGISTIC = _Script(
    imports="from sklearn.linear_model import LogisticRegression\n"
    "from sklearn.pipeline import make_pipeline\n"
    "from sklearn.preprocessing import StandardScaler",
    estimator='make_pipeline(StandardScaler(), LogisticRegression(C=params["c"]))',
    flavor="sklearn",
    requirements=("scikit-learn", "skops", "pandas"),
    parameters="train:\n  c: 1.0\n",
    pipeline=_DVC,
)


def _of(
    name: str,
    script: _Script,
    rows: Callable[[], Sequence[Mapping[str, str]]],
    parameter: str,
    edit: str,
) -> Repository:
    return Repository(
        name=name,
        write=lambda directory: script.write(directory, name, rows()),
        parameter=parameter,
        edit=edit,
        rows=rows,
    )


EXAMPLE = Repository(
    name="bank-marketing",
    write=lambda directory: write_example(Example.BANK, directory),
    parameter="c: 0.1",
    edit="c: 0.2",
    rows=lambda: _bank_rows("duration", "day", "month"),
)
FAST_POLICY = """deploy:
  canary:
    steps: [{weight: 0.5}]
    max_time: 1m
"""
"""As docs/deploying.md has it."""


def _write_fast_example(directory: Path) -> None:
    write_example(Example.BANK, directory)
    file = directory / "loopwright.yaml"
    file.write_text(file.read_text().replace("deploy:\n", FAST_POLICY))
    commit(directory, "Take the fast policy")


FAST_EXAMPLE = replace(EXAMPLE, write=_write_fast_example)
REPOSITORIES = (
    EXAMPLE,
    _of("no-time-column", _FOREST, _calls, "max_depth: 6", "max_depth: 7"),
    _of("lightgbm", _LIGHTGBM, _calls, "learning_rate: 0.05", "learning_rate: 0.06"),
    _of("xgboost", _XGBOOST, _calls, "learning_rate: 0.05", "learning_rate: 0.06"),
    _of("only-dvc-yaml", _LOGISTIC, _tumours, "c: 1.0", "c: 0.8"),
)
