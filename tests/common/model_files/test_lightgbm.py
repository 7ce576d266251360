"""What LightGBM saves passes, and no index or size that leads out of what it counts."""

import re
from pathlib import Path
from typing import Any

import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.model_files import check_model_file
from tests.common.model_files.models import lightgbm_model

SOUND: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear": {"linear_tree": True},
    "dart": {"boosting_type": "dart"},
    "forest": {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "leaves only": {"min_child_samples": 1000},
}
DAMAGED = {
    "child": (r"left_child=\S+", "left_child=99999999", "tree 0: a child is outside"),
    "leaf": (r"left_child=\S+", "left_child=-99999999", "tree 0: a child is outside"),
    "cycle": (r"left_child=\S+", "left_child=0", "tree 0: a node has two parents"),
    "split": (r"split_feature=\S+", "split_feature=50", "a split is outside of the 3 inputs"),
    "leaves": (r"num_leaves=\d+", "num_leaves=2000000000", "tree 0: leaf_value"),
    "wrapped leaves": (r"num_leaves=\d+", "num_leaves=4294967297", "tree 0: leaf_value"),
    "values": (r"leaf_value=\S+ ", "leaf_value=", "tree 0: leaf_value"),
    "other digits": (r"left_child=\S+", "left_child=1_0", "left_child: no list of whole numbers"),
    "sizes": (r"tree_sizes=\d+", "tree_sizes=9999999", "tree_sizes"),
    "outputs": (r"num_class=1", "num_class=9", "num_tree_per_iteration"),
    "no outputs": (r"num_class=1", "num_class=0", "num_tree_per_iteration"),
    "objective": (r"objective=\w+", "objective=multiclass num_class:9", "num_class:9"),
    "width": (r"max_feature_idx=2", "max_feature_idx=0", "outside of the 1 inputs"),
    "no number": (r"split_gain=[^ \n]+", "split_gain=x1.3", "split_gain: no list of numbers"),
    "no value": (r"leaf_value=\S+", "leaf_value=\xa01", "leaf_value: no list of numbers"),
    "no field": (r"left_child=", "left_child", "a line is no field of a tree"),
    "twice": (r"(left_child=.*\n)", r"\1\1", "a line comes twice"),
    "boundaries": (r"cat_boundaries=0 \d+", "cat_boundaries=0 9999", "cat_threshold: 1 instead"),
    "set": (r"num_cat=[1-9]", "num_cat=0", "a split outside of 0 sets"),
    "name": (r"Tree=1\n", "Tree=2\n", "tree 1: it is called 2"),
    "no end": (r"end of trees", "end", "no end of trees"),
}


@pytest.mark.parametrize("kind", SOUND)
def test_what_lightgbm_saves_passes(tmp_path: Path, kind: str) -> None:
    check_model_file(lightgbm_model(tmp_path / "model.txt", **SOUND[kind]), "lightgbm")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> str:
    return lightgbm_model(tmp_path_factory.mktemp("sound") / "model.txt").read_text()


@pytest.mark.parametrize("what", DAMAGED)
def test_what_leads_out_of_the_model_is_refused(tmp_path: Path, sound: str, what: str) -> None:
    found, instead, says = DAMAGED[what]
    damaged, count = re.subn(found, instead, sound, count=1)
    if what != "sizes":  # it would be found by these alone
        damaged = re.sub(r"tree_sizes=.*\n", "", damaged)
    (tmp_path / "model.txt").write_text(damaged)

    assert count == 1
    with pytest.raises(InvalidError, match=says) as refused:
        check_model_file(tmp_path / "model.txt", "lightgbm")
    assert "model.txt is damaged, or no LightGBM model" in str(refused.value)


@pytest.mark.parametrize(
    ("sound", "damaged", "why"),
    [
        ("[label_column: ]\n", "[label_colu\n", "parameters: a line"),
        ("\nend of parameters\n", "\n", "parameters: a line"),
        ("parameters:\n", "meters:\n", "no beginning"),
        ("leaf_value=", "lulav_faee=", "leaf_value"),
    ],
)
def test_fields_that_its_reader_takes_to_be_there_are_there(
    tmp_path: Path, sound: str, damaged: str, why: str
) -> None:
    model = lightgbm_model(tmp_path / "model.txt", n_estimators=1)
    text = model.read_text()
    assert sound in text
    model.write_text(text.replace(sound, damaged, 1))

    with pytest.raises(InvalidError, match=why):
        check_model_file(model, "lightgbm")
