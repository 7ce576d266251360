"""Whatever people name by the API is shown as it is, or refused."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.registry.builders import call, new_run, send

Asked = tuple[str, str, str, dict[str, Any]]


def naming(name: str, run_id: str = "") -> Mapping[str, Asked]:
    """Every way to give a name, by what it names: the field, and the request."""
    model, version = {"name": "m"}, {"name": "m", "version": "1"}
    experiment, run = {"experiment_id": "0"}, {"run_id": run_id}
    key = {"key": name, "value": ""}
    metric = {"key": name, "value": 1.0, "timestamp": 1}
    dataset = {"name": name, "digest": "d", "source_type": "s", "source": "s"}
    encoded = name.replace("\u200b", "%E2%80%8B")
    post, models = "POST", "registered-models"
    return {
        "model": ("name", post, f"{models}/create", {"name": name}),
        "model anew": ("name", post, f"{models}/rename", {**model, "new_name": name}),
        "model decoded": ("name", post, f"{models}/create", {"name": encoded}),
        "alias": ("alias", post, f"{models}/alias", {**version, "alias": name}),
        "tag of a model": ("key", post, f"{models}/set-tag", {**model, **key}),
        "tag of a new model": ("key", post, f"{models}/create", {"name": "n", "tags": [key]}),
        "tag of a version": ("key", post, "model-versions/set-tag", {**version, **key}),
        "experiment": ("name", post, "experiments/create", {"name": name}),
        "experiment anew": ("name", post, "experiments/update", {**experiment, "new_name": name}),
        "tag of an experiment": (
            "key", post, "experiments/set-experiment-tag", {**experiment, **key}
        ),
        "run": ("run_name", post, "runs/create", {**experiment, "run_name": name}),
        "run anew": ("run_name", post, "runs/update", {**run, "run_name": name}),
        "run by its tag": (
            "mlflow.runName", post, "runs/set-tag", {**run, "key": "mlflow.runName", "value": name}
        ),
        "tag": ("key", post, "runs/set-tag", {**run, **key}),
        "parameter": ("key", post, "runs/log-parameter", {**run, **key}),
        "metric": ("key", post, "runs/log-metric", {**run, **metric}),
        "metrics": ("key", post, "runs/log-batch", {**run, "metrics": [metric]}),
        "dataset": ("name", post, "runs/log-inputs", {**run, "datasets": [{"dataset": dataset}]}),
        "logged model": ("name", post, "logged-models", {**experiment, "name": name}),
    }  # fmt: skip


@pytest.fixture
async def run_id(client: httpx.AsyncClient) -> str:
    await call(client, "POST", "registered-models/create", name="m")
    await call(client, "POST", "model-versions/create", name="m", source="mlflow-artifacts:/x")
    return await new_run(client)


@pytest.mark.parametrize("what", naming(""))
async def test_a_name_that_is_not_shown_as_it_is_names_nothing(
    client: httpx.AsyncClient, run_id: str, what: str
) -> None:
    for name, told in (
        ("na\u200bme", "U+200B ZERO WIDTH SPACE"),
        ("na\u202eme", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("na\ue000me", "U+E000 (a character of private use)"),
        ("name ", "U+0020 SPACE"),
    ):
        if what == "model decoded" and "\u200b" not in name:
            continue
        field, method, path, body = naming(name, run_id)[what]
        refused = await send(client, method, path, **body)

        assert refused.status_code == 400, (name, refused.text)
        said = refused.json()
        assert said["error_code"] == "INVALID_PARAMETER_VALUE"
        assert said["message"].startswith(f"{field} '")
        assert told in said["message"]
        assert said["message"].endswith("; leave it out")


@pytest.mark.parametrize("what", ["model", "experiment", "run", "dataset", "logged model"])
async def test_a_name_of_any_script_names_what_it_is_given_to(
    client: httpx.AsyncClient, run_id: str, what: str
) -> None:
    for name in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "क्षेत्र", "👩🏽\u200d🔬 2"):
        _, method, path, body = naming(name, run_id)[what]
        taken = await send(client, method, path, **body)

        assert taken.status_code == 200, (name, taken.text)
