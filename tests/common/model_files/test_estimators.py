"""Loaded estimators that would open files, start processes or read beyond their memory."""

from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from loopwright_common.errors import InvalidError
from loopwright_common.model_files import confine_estimator

SOURCE = "model.skops (skops)"
WORDS = ["red wine", "white wine"]


def within(step: Any) -> Any:
    return make_pipeline(FeatureUnion([("text", make_pipeline(step))]), LogisticRegression())


def test_a_vectorizer_of_text_passes_and_answers_as_before() -> None:
    for step in (CountVectorizer(), TfidfVectorizer(), HashingVectorizer(n_features=32)):
        model = within(step).fit(WORDS, [0, 1])

        assert (
            confine_estimator(model, SOURCE).predict(WORDS).tolist()
            == model.predict(WORDS).tolist()
        )


@pytest.mark.parametrize("given", ["filename", "file"])
def test_a_vectorizer_that_opens_what_rows_name_is_refused(given: str) -> None:
    model = within(CountVectorizer()).fit(WORDS, [0, 1])
    model[0].transformer_list[0][1][0].input = given

    with pytest.raises(InvalidError, match=r"^model\.skops \(skops\): .* input='content'"):
        confine_estimator(model, SOURCE)


@pytest.mark.parametrize("numbers", [[0, 1, 50_000_000], [0, 1, -1], [0, 1, 1], [0, 1, "2"]])
@pytest.mark.parametrize("kind", [CountVectorizer, DictVectorizer])
def test_a_vocabulary_counts_columns_from_zero_on(kind: Any, numbers: list[Any]) -> None:
    step = kind().fit(WORDS if kind is CountVectorizer else [{"a": 1, "b": 2, "c": 3}])
    step.vocabulary_ = dict(zip("abc", numbers, strict=True))

    with pytest.raises(InvalidError, match="vocabulary_"):
        confine_estimator(within(step), SOURCE)


@pytest.mark.parametrize("features", [0, -1, 1 << 40, "8", None])
def test_words_are_hashed_to_a_bounded_number_of_features(features: Any) -> None:
    step = HashingVectorizer()
    step.n_features = features

    with pytest.raises(InvalidError, match="n_features"):
        confine_estimator(within(step), SOURCE)


def test_no_estimator_starts_processes_of_its_own() -> None:
    union = FeatureUnion([("a", StandardScaler()), ("b", StandardScaler())], n_jobs=-1)
    model = make_pipeline(union, LogisticRegression())

    assert confine_estimator(model, SOURCE)[0].n_jobs is None


LETTERS = np.array([[each, each] for each in "aaabbbbbccde"], object)
ENCODERS: list[dict[str, Any]] = [
    {},
    {"drop": "first"},
    {"drop": "if_binary"},
    {"drop": np.array(["b", "c"], object)},
    {"min_frequency": 3, "handle_unknown": "infrequent_if_exist"},
    {"max_categories": 3, "drop": "first"},
    {"categories": [list("abcdef"), list("abcdez")], "handle_unknown": "ignore"},
]


@pytest.mark.parametrize("told", ENCODERS)
def test_an_encoder_passes_however_it_groups_and_drops(told: dict[str, Any]) -> None:
    encoder = OneHotEncoder(**told).fit(LETTERS)

    assert confine_estimator(make_pipeline(encoder), SOURCE)[0] is encoder
    confine_estimator(KBinsDiscretizer(3).fit(np.arange(20.0)[:, None]), SOURCE)


@pytest.mark.parametrize(
    "damage",
    [
        {"_default_to_infrequent_mappings": [np.full(5, 10**8)] * 2},
        {"_default_to_infrequent_mappings": [np.full(5, -1)] * 2},
        {"_default_to_infrequent_mappings": [np.zeros(2, int)] * 2},
        {"_n_features_outs": [5]},
        {"_n_features_outs": [5, 4]},
        {"_drop_idx_after_grouping": np.array([9, 0], object)},
        {"categories_": [np.array(list("abcdefgh"), object)] * 2},
    ],
)
def test_an_encoder_puts_its_categories_into_the_columns_that_it_has(
    damage: dict[str, Any],
) -> None:
    encoder = OneHotEncoder().fit(LETTERS)
    encoder.transform(LETTERS)
    vars(encoder).update({"_n_features_outs": [5, 5], **damage})

    with pytest.raises(InvalidError, match="fit it anew"):
        confine_estimator(within(encoder), SOURCE)


@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10**6), ("right_child", -5), ("feature", 10**6), ("left_child", 0)],
)
def test_a_tree_leads_from_node_to_node(field: str, value: int) -> None:
    from sklearn.ensemble import RandomForestClassifier

    rows = np.random.default_rng(1).normal(size=(60, 3))
    forest = RandomForestClassifier(2, random_state=1).fit(rows, rows[:, 0] > 0)
    confine_estimator(forest, SOURCE)
    tree = forest.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][0] = value
    tree.__setstate__(state)

    with pytest.raises(InvalidError, match="a decision tree is damaged"):
        confine_estimator(make_pipeline(forest), SOURCE)
