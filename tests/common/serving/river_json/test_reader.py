"""Documents as a forger writes them: what they name is not opened, and nothing runs meanwhile."""

import json
from typing import Any

import pytest
from river import stats, tree

from loopwright_common.serving import river_json
from loopwright_common.serving.river_json import NotPlainError
from loopwright_common.serving.river_json.allowed import CLASSES
from tests.audited import run_audited
from tests.common.serving.river_json.test_allowed import classes_of_river


def document(*heap: dict[str, Any], root: Any = None) -> str:
    return json.dumps({"format": 2, "root": root or {"at": 0}, "heap": list(heap)})


async def test_river_json_opens_estimators_only() -> None:
    """All classes outside the list; and 10,000 damaged documents, watched by an audit hook."""
    for name in sorted(classes_of_river() - CLASSES):
        for entry in ({"object": name, "state": {}}, {"new": name}, {"call": name}):
            with pytest.raises(NotPlainError):
                river_json.loads(document({"arguments": [], "state": None, **entry}))

    module = "tests.common.serving.river_json.fuzz_process"
    found = await run_audited(module, "13", "10000")

    assert found["events"] == {}
    assert set(found["outcomes"]) == {"opened", "refused"}
    assert sum(found["outcomes"].values()) == 10_000
    assert min(found["outcomes"].values()) > 500


def test_a_generator_that_evaluates_its_state_is_not_made_and_nothing_is_iterated() -> None:
    generator = {
        "new": "river.datasets.synth.agrawal:Agrawal",
        "arguments": [],
        "state": {"at": 1},
    }
    state = {"dict": [["feature_names", {"at": 2}]]}
    iterated = {"call": "collections:deque", "arguments": [{"at": 0}], "state": None}

    for form in (1, 2):
        text = {"format": form, "root": {"at": 3}, "heap": [generator, state, {}, iterated]}
        with pytest.raises(NotPlainError):
            river_json.loads(json.dumps(text))


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "os:system"},
        {"name": "builtins:exec"},
        {"name": "builtins:object"},
        {"name": "river.base.base:inspect.sys.exit"},
        {"name": "river.base.base:typing"},
        {"name": "river.stream.iter_csv:csv.reader"},
        {"name": ["river.stats.mean:Mean"]},
        {"object": "builtins:str", "state": {}},
        {"object": "copy:deepcopy", "state": {}},
        {"compiled": "river.stats.mean:Mean", "arguments": [], "state": ""},
        {"method": "__reduce__", "of": "text"},
        {"method": "learn_one", "of": {"at": 1}},
    ],
)
def test_a_document_cannot_name_what_is_not_on_the_lists(entry: dict[str, Any]) -> None:
    with pytest.raises(NotPlainError):
        river_json.loads(document(entry, {"object": "river.stats.mean:Mean", "state": {}}))


@pytest.mark.parametrize("name", ["get", "update", "__class__", "__dict__", "__init__", "a b", ""])
def test_state_cannot_take_the_place_of_code(name: str) -> None:
    entry = {"object": "river.stats.mean:Mean", "state": {name: {"at": 1}}}

    with pytest.raises(NotPlainError, match="is no state of a Mean"):
        river_json.loads(document(entry, {"name": "builtins:float"}))


def test_a_key_is_no_object_with_code_of_its_own() -> None:
    vertex = {"object": "river.neighbors.ann.nn_vertex:Vertex", "state": {"uuid": 1}}

    for entry in ({"dict": [[{"at": 1}, 1]]}, {"set": [{"at": 1}]}, {"frozenset": [{"at": 1}]}):
        with pytest.raises(NotPlainError, match="cannot be a key"):
            river_json.loads(document(entry, vertex))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 1_000_000, "RecursionError"),
        ("", "no document"),
        ("[]", "no document"),
        ('{"format": 1, "root": null, "heap": []}', "save the learner again"),
        ('{"format": 2, "root": {"at": 0}, "heap": [{"tuple": [{"at": 0}]}]}', "100 deep"),
        ('{"format": 2, "root": NaN, "heap": []}', "NaN is no JSON"),
        ('{"format": 2, "root": {"at": 1}, "heap": []}', "no place in the heap"),
    ],
)
def test_what_is_no_document_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(NotPlainError, match=why):
        river_json.loads(text)


def test_a_document_without_bound_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from loopwright_common.serving.river_json import reader

    monkeypatch.setattr(reader, "MAX_SIZE", 1000)

    with pytest.raises(NotPlainError, match="at most 1000"):
        river_json.loads(document(*[{"list": []}] * 1000))


def test_a_compiled_statistic_takes_its_own_state_only() -> None:
    sound = json.loads(river_json.dumps(stats.EWMean(0.3)))
    (place,) = [i for i, entry in enumerate(sound["heap"]) if "compiled" in entry]

    for damage in ({"state": "AAAA"}, {"arguments": ["0.3"]}, {"arguments": [0.3, 1]}):
        damaged = json.loads(json.dumps(sound))
        damaged["heap"][place] |= damage
        with pytest.raises(NotPlainError):
            river_json.loads(json.dumps(damaged))


def test_a_compiled_statistic_that_rust_panics_at_is_refused() -> None:
    """Its panic is no Exception: it would end the process that reads the document."""
    sound = json.loads(river_json.dumps(stats.IQR(0.25, 0.75)))
    (place,) = [i for i, entry in enumerate(sound["heap"]) if "compiled" in entry]
    sound["heap"][place]["arguments"] = [0.75, 0.25]

    with pytest.raises(NotPlainError, match="this is no RsIQR"):
        river_json.loads(json.dumps(sound))


@pytest.mark.parametrize("window", [10**12, -1])
def test_a_window_that_no_memory_holds_is_refused_before_rust_reserves_it(window: int) -> None:
    """Where it cannot be reserved, the process ends."""
    sound = json.loads(river_json.dumps(stats.RollingQuantile(0.5, 10)))
    (place,) = [i for i, entry in enumerate(sound["heap"]) if "compiled" in entry]
    sound["heap"][place]["arguments"][1] = window

    with pytest.raises(NotPlainError, match="a window has at most 16777216 values"):
        river_json.loads(json.dumps(sound))


def test_an_array_is_one_of_numbers_and_of_its_own_size() -> None:
    sound = {"array": "AAAAAAAAAAA=", "dtype": "<f8", "shape": [1], "order": "C"}
    assert river_json.loads(document(sound)).tolist() == [0.0]

    for damage in ({"dtype": "O"}, {"dtype": "S8"}, {"shape": [2**40]}, {"shape": [-1]}):
        with pytest.raises(NotPlainError):
            river_json.loads(document({**sound, **damage}))


def test_the_name_of_what_another_river_has_is_said() -> None:
    learner = tree.HoeffdingTreeClassifier()
    text = river_json.dumps(learner)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("river.tree.hoeffding_tree_classifier.HoeffdingTreeClassifier")
        with pytest.raises(NotPlainError, match="not of the River that is installed here"):
            river_json.loads(text)
