"""Every booster of XGBoost passes, and no index or size that leads out of what it counts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.model_files import check_model_file
from tests.common.model_files.models import xgboost_model

Damage = Callable[[dict[str, Any]], None]
SOUND: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep": {"max_depth": 9, "n_estimators": 20},
    "pruned": {"tree_method": "exact", "gamma": 0.5, "numbers": True},
    "forest": {"num_parallel_tree": 3},
    "dart": {"booster": "dart"},
    "linear": {"booster": "gblinear", "numbers": True},
    "several": {"several": True},
    "vectors": {"several": True, "multi_strategy": "multi_output_tree", "numbers": True},
}


@pytest.mark.parametrize("suffix", ["json", "ubj"])
@pytest.mark.parametrize("kind", SOUND)
def test_what_xgboost_saves_passes(tmp_path: Path, kind: str, suffix: str) -> None:
    check_model_file(xgboost_model(tmp_path / f"model.{suffix}", **SOUND[kind]), "xgboost")


def tree(document: dict[str, Any], number: int = 0) -> dict[str, Any]:
    model = document["learner"]["gradient_booster"]["model"]
    found: dict[str, Any] = model["trees"][number]
    return found


def in_tree(name: str, at: int, value: object) -> Damage:
    return lambda document: tree(document)[name].__setitem__(at, value)


def in_model(name: str, at: int, value: object) -> Damage:
    def damage(document: dict[str, Any]) -> None:
        document["learner"]["gradient_booster"]["model"][name][at] = value

    return damage


def in_categories(name: str, at: int, value: object) -> Damage:
    def damage(document: dict[str, Any]) -> None:
        place = document["learner"]["gradient_booster"]["model"]["cats"][name]
        (place if name != "enc" else place[1]["offsets"])[at] = value

    return damage


def shortened(name: str) -> Damage:
    return lambda document: tree(document)[name].pop()


def by_category(name: str, value: int) -> Damage:
    """In the first tree that splits by category."""

    def damage(document: dict[str, Any]) -> None:
        trees = document["learner"]["gradient_booster"]["model"]["trees"]
        next(one for one in trees if one["categories_nodes"])[name][0] = value

    return damage


def param(name: str, value: str) -> Damage:
    def damage(document: dict[str, Any]) -> None:
        document["learner"]["learner_model_param"][name] = value

    return damage


DAMAGED: dict[str, tuple[Damage, str]] = {
    "child": (in_tree("left_children", 0, 10**8), "tree 0: a child is outside"),
    "cycle": (in_tree("right_children", 0, 0), "tree 0: a node has two parents"),
    "one child": (in_tree("right_children", 0, -1), "tree 0: a node has one child"),
    "split": (in_tree("split_indices", 0, 10**6), "tree 0: a split is outside of the 3 inputs"),
    "negative split": (in_tree("split_indices", 0, -5), "a split is outside of the 3 inputs"),
    "parent": (in_tree("parents", 1, 10**8), "tree 0: parents"),
    "no whole number": (in_tree("left_children", 0, 1.5), "no list of whole numbers"),
    "beyond 64 bits": (in_tree("left_children", 0, 2**70), "no list of whole numbers"),
    "short array": (shortened("split_conditions"), "tree 0: split_conditions: "),
    "missing": (lambda document: tree(document).pop("parents"), "parents"),
    "id": (lambda document: tree(document).__setitem__("id", 7), "tree 0: id: 7"),
    "output": (in_model("tree_info", 1, 4), "tree_info: an output outside of the 1"),
    "rounds": (in_model("iteration_indptr", -1, 99), "iteration_indptr: no partition"),
    "width": (param("num_feature", "2"), "not one for each input"),
    "text width": (param("num_feature", "3_0"), "'3_0' is no count"),
    "category node": (by_category("categories_nodes", 3), "tree 0: categories_nodes"),
    "category segment": (by_category("categories_segments", 10**9), "categories_segments"),
    "category size": (by_category("categories_sizes", 10**9), "categories_segments|categories:"),
    "category": (by_category("categories", 2**40), "categories: larger than any encoding"),
    "split type": (in_tree("split_type", 0, 9), "split_type: neither number nor category"),
    "category names": (in_categories("enc", 1, 10**6), "cats: offsets cut no text"),
    "category order": (in_categories("sorted_idx", 0, 10**6), "sorted_idx: no order"),
    "category columns": (in_categories("feature_segments", 1, 9), "feature_segments"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> str:
    return xgboost_model(tmp_path_factory.mktemp("sound") / "model.json").read_text()


@pytest.mark.parametrize("what", DAMAGED)
def test_what_leads_out_of_the_model_is_refused(tmp_path: Path, sound: str, what: str) -> None:
    damage, says = DAMAGED[what]
    document = json.loads(sound)
    damage(document)
    (tmp_path / "model.json").write_text(json.dumps(document))

    with pytest.raises(InvalidError, match=says) as refused:
        check_model_file(tmp_path / "model.json", "xgboost")
    assert "model.json is damaged, or no XGBoost model" in str(refused.value)
    assert "save the model anew" in str(refused.value)


def test_a_key_that_two_readers_might_read_differently_is_refused(
    tmp_path: Path, sound: str
) -> None:
    twice = sound.replace('"left_children":', '"left\\u005fchildren":[0],"left_children":', 1)
    (tmp_path / "model.json").write_text(twice)

    with pytest.raises(InvalidError, match="a key comes twice"):
        check_model_file(tmp_path / "model.json", "xgboost")


def test_json_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("[" * 100_000)

    with pytest.raises(InvalidError, match=r"model\.json"):
        check_model_file(tmp_path / "model.json", "xgboost")
