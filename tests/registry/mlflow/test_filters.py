"""MLflow's filter grammar."""

from typing import Any

import httpx
import pytest

from loopwright_common.errors import InvalidError
from loopwright_registry.mlflow.filters import Condition, parse_filter, parse_order
from tests.registry.builders import call, error, new_run

RUNS: dict[str, dict[str, dict[str, object]]] = {
    "red": {"params": {"depth": "3"}, "metrics": {"loss": 0.5}, "tags": {"owner": "Ann"}},
    "blue": {"params": {"depth": "5"}, "metrics": {"loss": "NaN"}, "tags": {}},
    "green": {"params": {}, "metrics": {"loss": 0.1}, "tags": {"owner": "bob", "a b": "x"}},
}


async def logged(client: httpx.AsyncClient) -> dict[str, str]:
    """Names by run id of three runs."""
    names = {}
    for name, facts in RUNS.items():
        run_id = await new_run(client, mlflow__runName=name)
        names[run_id] = name
        fields: dict[str, Any] = {
            kind: [{"key": k, "value": v, "timestamp": 1} for k, v in items.items()]
            for kind, items in facts.items()
        }
        await call(client, "POST", "runs/log-batch", run_id=run_id, **fields)
    return names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params.depth = '3'", {"red"}),
        ("params.depth != '3'", {"blue"}),
        ("metrics.loss < 0.4", {"green"}),
        ("metrics.loss != 0.5", {"blue", "green"}),
        ("metric.loss >= 0.1 AND tags.owner LIKE 'A%'", {"red"}),
        ("tags.owner LIKE 'a%'", set()),
        ("tags.owner ILIKE 'a_n'", {"red"}),
        ("tags.owner IS NULL", {"blue"}),
        ("params.depth IS NOT NULL and run_name != 'red'", {"blue"}),
        ('tags."a b" = "x"', {"green"}),
        ("tags.`a b` = 'x'", {"green"}),
        ("tags.mlflow.runName = 'red'", {"red"}),
        ("attributes.status = 'RUNNING' AND start_time > 5", {"red", "blue", "green"}),
        ("attr.run_name IN ('red', 'green')", {"red", "green"}),
        ("", {"red", "blue", "green"}),
    ],
)
async def test_a_filter_finds_the_runs_that_mlflow_would(
    client: httpx.AsyncClient, text: str, expected: set[str]
) -> None:
    names = await logged(client)

    found = await call(client, "POST", "runs/search", experiment_ids=["0"], filter=text)

    assert {names[run["info"]["run_id"]] for run in found.get("runs", [])} == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("metrics.loss ASC", ["green", "red", "blue"]),
        ("metrics.loss DESC", ["red", "green", "blue"]),
        ("params.depth DESC", ["blue", "red", "green"]),
        ("run_name", ["blue", "green", "red"]),
    ],
)
async def test_missing_keys_and_nan_sort_last(
    client: httpx.AsyncClient, order: str, expected: list[str]
) -> None:
    names = await logged(client)

    found = await call(client, "POST", "runs/search", experiment_ids=["0"], order_by=[order])

    assert [names[run["info"]["run_id"]] for run in found["runs"]] == expected


NAMES = ["B", "a", "_", "\u00c4", "\u00e4", "Z", "a b", "a-b", "10", "9", "a\\b", "a~b", "a.b"]


async def test_text_sorts_by_bytes_on_every_database(client: httpx.AsyncClient) -> None:
    for name in NAMES:
        await call(client, "POST", "registered-models/create", name=name)

    found = await call(client, "GET", "registered-models/search", order_by="name ASC")

    assert [model["name"] for model in found["registered_models"]] == sorted(NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name LIKE 'A%'", set()),
        ("name ILIKE 'A_B'", {"a b", "a-b", "a\\b", "a~b", "a.b"}),
        ("name LIKE 'a_b'", {"a b", "a-b", "a\\b", "a~b", "a.b"}),
        ("name LIKE 'a.%'", {"a.b"}),
        ("name LIKE 'a\\_'", {"a\\b"}),
        ("name ILIKE 'A\\_'", {"a\\b"}),
        ("name ILIKE '\u00e4'", {"\u00e4"}),
        ("name LIKE '%'", set(NAMES)),
    ],
)
async def test_patterns_mean_the_same_on_every_database(
    client: httpx.AsyncClient, text: str, expected: set[str]
) -> None:
    for name in NAMES:
        await call(client, "POST", "registered-models/create", name=name)

    found = await call(client, "GET", "registered-models/search", filter=text)

    assert {model["name"] for model in found.get("registered_models", [])} == expected


async def test_runs_without_an_end_sort_last_in_both_directions(client: httpx.AsyncClient) -> None:
    ends = {await new_run(client): end for end in (None, 5, 7)}
    for run_id, end in ends.items():
        if end:
            await call(client, "POST", "runs/update", run_id=run_id, end_time=end)
    found = {}
    for order in ("end_time ASC", "end_time DESC"):
        answer = await call(client, "POST", "runs/search", experiment_ids=["0"], order_by=[order])
        found[order] = [ends[run["info"]["run_id"]] for run in answer["runs"]]

    assert found == {"end_time ASC": [5, 7, None], "end_time DESC": [7, 5, None]}


async def test_logged_models_are_ordered_by_the_newest_point_of_a_metric(
    client: httpx.AsyncClient,
) -> None:
    run_id, ids = await new_run(client), []
    for values in ((0.1, 0.9), (0.5, 0.4)):
        made = await call(client, "POST", "logged-models", experiment_id="0")
        ids.append(made["model"]["info"]["model_id"])
        points = [
            {"key": "m", "value": value, "timestamp": 1, "step": step, "model_id": ids[-1]}
            for step, value in enumerate(values)
        ]
        await call(client, "POST", "runs/log-batch", run_id=run_id, metrics=points)

    found = await call(
        client, "POST", "logged-models/search", experiment_ids=["0"],
        order_by=[{"field_name": "metrics.m", "ascending": True}],
    )  # fmt: skip

    assert [model["info"]["model_id"] for model in found["models"]] == [ids[1], ids[0]]


@pytest.mark.parametrize("text", ["metrics.m > nan", "start_time < inf", "end_time = 1e999"])
async def test_a_number_that_is_none_is_refused(client: httpx.AsyncClient, text: str) -> None:
    found = await error(client, "POST", "runs/search", experiment_ids=["0"], filter=text)

    assert found == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    "text",
    ["a OR b", "params.a", "name = unquoted", "x.y = '1'", "name = 'a' name = 'b'", "name IN 'a'",
     "(name = 'a')", "name ="],
)  # fmt: skip
def test_what_the_grammar_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_filter(text)


def test_a_quoted_value_may_hold_the_word_and() -> None:
    assert parse_filter("name = 'this AND that'") == [
        Condition("attribute", "name", "=", "this AND that")
    ]


def test_ordering_twice_by_a_field_is_refused() -> None:
    with pytest.raises(InvalidError):
        parse_order(["name", "name DESC"])
