"""Whatever a packaging process says, it gets no more than an administrator has granted."""

from pathlib import Path
from typing import Any

import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import SPEC_FILE, Column, IsolatedSpec, ServingSpec
from loopwright_deployer.packaging.isolated import Grant
from loopwright_deployer.packaging.verification import verified_spec

DIGEST = "sha256:" + "1" * 64
PICKLE = IsolatedSpec(loader="pickle")


def made(directory: Path, **changes: Any) -> Path:
    fields: dict[str, Any] = {
        "format": "isolated",
        "file": "model.json",
        "task": "regressor",
        "columns": [Column(name="a", type="double")],
        "source_digest": DIGEST,
        "isolated": IsolatedSpec(loader="river"),
    }
    spec = ServingSpec(**(fields | changes))
    (directory / "model.json").write_text("{}")
    (directory / SPEC_FILE).write_text(spec.model_dump_json())
    return directory


def test_what_is_granted_passes(tmp_path: Path) -> None:
    assert verified_spec(made(tmp_path), DIGEST, Grant()).file == "model.json"
    pickled = made(tmp_path, isolated=PICKLE)
    assert verified_spec(pickled, DIGEST, Grant("bank", pickle=True)).isolated == PICKLE


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"isolated": PICKLE}, "it runs any code"),
        ({"isolated": IsolatedSpec(loader="mlflow")}, "it runs any code"),
        ({"isolated": IsolatedSpec(loader="runtime")}, "for the scorer to choose"),
        ({"source_digest": "sha256:" + "2" * 64}, "of another package"),
        ({"file": "../model.json"}, "no file of the package"),
        ({"file": "/etc/passwd"}, "no file of the package"),
        ({"file": "absent"}, "no file of the package"),
        ({"isolated": IsolatedSpec(loader="river", code="../..")}, "no file of the package"),
        (
            {"isolated": IsolatedSpec(loader="river", requirements=["--index-url http://x"])},
            "where packages come from",
        ),
        ({"format": "xgboost", "isolated": None}, "model.json is damaged"),
        ({"format": "onnx"}, "for no other"),
        ({"isolated": None}, "for no other"),
    ],
)
def test_what_packaging_may_not_make_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidError, match=says):
        verified_spec(made(tmp_path, **changes), DIGEST, Grant("bank"))


def test_a_tree_is_not_for_the_scorer_to_open(tmp_path: Path) -> None:
    """Its nodes are raw memory."""
    import skops.io
    from sklearn.tree import DecisionTreeRegressor

    made(tmp_path, format="sklearn-skops", isolated=None, trusted=["sklearn.tree._tree.Tree"])
    skops.io.dump(DecisionTreeRegressor().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path / "model.json")

    with pytest.raises(InvalidError, match=r"sklearn\.tree\._tree\.Tree is served as ONNX only"):
        verified_spec(tmp_path, DIGEST, Grant())
