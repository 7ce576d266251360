"""Many unmodified mlflow clients at once on one registry; prints what they did as JSON."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

CLIENTS, STEPS = 6, 5
TAKEN = "RESOURCE_ALREADY_EXISTS"


def unless_taken(create: Callable[[], object]) -> str:
    try:
        create()
    except MlflowException as error:
        return str(error.error_code)
    return "created"


def one(url: str, run: str, number: int) -> dict[str, object]:
    """What one client does, while the others do the same."""
    client = MlflowClient(url)
    outcomes = [
        unless_taken(lambda: client.create_experiment("shared")),
        unless_taken(lambda: client.create_registered_model("shared")),
    ]
    versions = []
    for step in range(STEPS):
        points = [Metric(f"m{k}", number + step / 10, 1, step) for k in (1, 2, 3)][
            :: number % 2 or -1
        ]
        client.log_batch(run, metrics=points)
        client.set_tag(run, "turn", f"{number}")
        client.log_param(run, f"p{number}", step // STEPS)
        versions.append(
            client.create_model_version("shared", "mlflow-artifacts:/elsewhere").version
        )
        client.set_registered_model_alias("shared", "best", versions[-1])
        client.set_model_version_tag("shared", versions[-1], "by", f"{number}")
    return {"outcomes": outcomes, "versions": [int(version) for version in versions]}


if __name__ == "__main__":
    url, run = sys.argv[1:]
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = list(pool.map(partial(one, url, run), range(CLIENTS)))
    print(json.dumps(done))  # noqa: T201
