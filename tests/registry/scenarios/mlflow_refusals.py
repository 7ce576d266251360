"""What an unmodified mlflow client is refused; prints the codes that it understood."""

import json
from collections.abc import Callable

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

CLIENT = MlflowClient()
ASKED: dict[str, Callable[[], object]] = {
    "large": lambda: CLIENT.create_registered_model("m", description="x" * (2 << 20)),
    "unseen": lambda: CLIENT.create_registered_model("m\u200b"),
    "missing": lambda: CLIENT.get_registered_model("missing"),
}


def code(ask: Callable[[], object]) -> str:
    try:
        ask()
    except MlflowException as error:
        return f"{error.error_code}: {error}"
    return "done"


if __name__ == "__main__":
    print(json.dumps({what: code(ask) for what, ask in ASKED.items()}))  # noqa: T201
