"""MLflow's filter grammar."""

from typing import Any

import httpx
import pytest

from loopwright_common.errors import InvalidError
from loopwright_registry.filters import Condition, parse_filter, parse_order
from tests.registry.builders import call, new_run

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
