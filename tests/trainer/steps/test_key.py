"""Properties of step keys."""

from dataclasses import fields, replace
from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loopwright_trainer.steps.key import KeyParts, explain, nearest, step_key

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
)
MAPPINGS = st.dictionaries(st.text(), st.text(), max_size=4)
PARTS = st.builds(
    KeyParts,
    stage=st.text(),
    commands=st.lists(st.text(), max_size=3),
    wdir=st.text(),
    outs=st.lists(st.text(), max_size=3),
    deps=MAPPINGS,
    params=st.dictionaries(st.text(), st.dictionaries(st.text(), VALUES, max_size=3), max_size=2),
    environment=st.text(),
    python=st.text(),
    platform=st.text(),
    seed=st.none() | st.integers(),
)
BASE = KeyParts(
    stage="train", commands=["go"], wdir=".", outs=["o"], deps={"d": "1"},
    params={"params.yaml": {"rate": 1}}, environment="e", python="3", platform="linux",
)  # fmt: skip


@given(PARTS, PARTS)
def test_equal_parts_and_only_equal_parts_have_equal_keys(one: KeyParts, other: KeyParts) -> None:
    assert (step_key(one) == step_key(other)) == (one.to_json() == other.to_json())


@given(PARTS)
def test_the_order_of_mappings_does_not_matter(parts: KeyParts) -> None:
    backwards = replace(parts, deps=dict(reversed(list(parts.deps.items()))))

    assert step_key(parts) == step_key(backwards)


@given(PARTS, PARTS)
def test_a_difference_always_has_an_explanation(one: KeyParts, other: KeyParts) -> None:
    different = step_key(one) != step_key(other)

    assert bool(explain(one.to_json(), other.to_json())) == different


def test_text_does_not_run_over_into_its_neighbour() -> None:
    joined = replace(BASE, commands=["ab", "c"])

    assert step_key(joined) != step_key(replace(BASE, commands=["a", "bc"]))


def test_values_that_yaml_keeps_apart_have_different_keys() -> None:
    values: list[Any] = [1, "1", 1.0, True, "true", None, "null", date(2024, 1, 1), "2024-01-01"]
    keys = {step_key(replace(BASE, params={"p": {"k": value}})) for value in values}

    assert len(keys) == len(values)


def test_run_ids_and_times_cannot_enter_a_key() -> None:
    assert {field.name for field in fields(KeyParts)} == {
        "stage", "commands", "wdir", "outs", "deps", "params", "environment", "python",
        "platform", "seed", "version",
    }  # fmt: skip


def test_the_nearest_entry_is_the_one_with_the_fewest_differences() -> None:
    far = replace(BASE, commands=["x"], deps={"d": "2", "e": "3"}).to_json()
    near = replace(BASE, params={"params.yaml": {"rate": 2}}).to_json()

    assert nearest(BASE.to_json(), [far, near]) is near
    assert explain(BASE.to_json(), near) == ["param rate changed from 2 to 1"]
    assert explain(BASE.to_json(), far) == [
        "the command changed", "dep d changed", "dep e is gone",
    ]  # fmt: skip
