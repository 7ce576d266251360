"""skops files as a forger writes them: types that are not listed, or come in another way."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import skops.io
from skops.io import _trusted_types

from loopwright_common.model_files import held_types
from loopwright_common.model_files.skops_types import LISTED
from tests.common.model_files.models import skops_model


def archive(path: Path, node: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("schema.json", json.dumps({**node, "protocol": 2}))
    return path


def node(loader: str, name: str, **fields: Any) -> dict[str, Any]:
    module, _, cls = name.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": cls, **fields}


def test_a_served_model_holds_nothing_foreign(tmp_path: Path) -> None:
    held = held_types(skops_model(tmp_path / "model.skops"))

    assert held.foreign == set()
    assert any(name.startswith("sklearn.") for name in held.names)


def test_every_type_that_skops_trusts_beyond_the_list_is_foreign(tmp_path: Path) -> None:
    trusted = {
        "ObjectNode": _trusted_types.SKLEARN_ESTIMATOR_TYPE_NAMES,
        "FunctionNode": _trusted_types.NUMPY_UFUNC_TYPE_NAMES
        + _trusted_types.SCIPY_UFUNC_TYPE_NAMES,
        "TypeNode": _trusted_types.PRIMITIVE_TYPE_NAMES
        + _trusted_types.CONTAINER_TYPE_NAMES
        + _trusted_types.NUMPY_DTYPE_TYPE_NAMES,
    }
    for loader, names in trusted.items():
        strange = sorted(set(names) - LISTED)
        nodes = node("ListNode", "builtins.list", content=[node(loader, each) for each in strange])
        assert strange
        assert held_types(archive(tmp_path / "model.skops", nodes)).foreign == set(strange)


@pytest.mark.parametrize(
    "forged",
    [
        node("ConstructorFromReduceNode", "lightgbm.basic.Booster", content={}),
        node("TypeNode", "lightgbm.basic.Booster"),
        node("FunctionNode", "sklearn.linear_model._logistic.LogisticRegression"),
        node("ListNode", "xgboost.core.Booster", content=[]),
        node("RandomStateNode", "sklearn.pipeline.Pipeline"),
        node("SparseMatrixNode", "scipy.sparse._matrix.spmatrix", type="scipy", file="a.npz"),
        node("PartialNode", "functools.partial", content={}),
        node("OperatorFuncNode", "operator.methodcaller", attrs={}),
        node("MethodNode", "sklearn.pipeline.Pipeline", content={"func": "fit", "obj": {}}),
        node("FunctionNode", "os.system"),
        node("TypeNode", "builtins.map"),
        node("NoSuchNode", "builtins.dict"),
        {"__loader__": "ObjectNode"},
        {"__loader__": ["ObjectNode"], "__module__": "os", "__class__": "system"},
    ],
)
def test_a_way_in_which_no_estimator_holds_a_type_is_foreign(
    tmp_path: Path, forged: dict[str, Any]
) -> None:
    hidden = node("DictNode", "builtins.dict", key_types=forged, content={"__loader__": forged})

    for each in (forged, hidden, node("ListNode", "builtins.list", content=[hidden])):
        assert held_types(archive(tmp_path / "model.skops", each)).foreign


def test_what_is_granted_is_granted_under_the_name_that_skops_has_for_it(tmp_path: Path) -> None:
    """And a method is named with its owner."""
    forged = node("MethodNode", "a.B", content={"func": "c", "obj": node("ObjectNode", "a.B")})
    path = archive(tmp_path / "model.skops", forged)

    assert (
        held_types(path).foreign == set(skops.io.get_untrusted_types(file=path)) == {"a.B", "a.B.c"}
    )
