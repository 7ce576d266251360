"""What a stage does to its run with an unmodified mlflow client; prints what became of it."""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import HTTPError

CLIENT, RUN = MlflowClient(), sys.argv[1]


def upload() -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "note.txt"
        file.write_text("x")
        CLIENT.log_artifact(RUN, str(file))


WRITES: dict[str, Callable[[], object]] = {
    "metric": lambda: CLIENT.log_metric(RUN, "m", 1.0, synchronous=True),
    "parameter": lambda: CLIENT.log_param(RUN, "p", 1, synchronous=True),
    "tag": lambda: CLIENT.set_tag(RUN, "t", "v", synchronous=True),
    "artifact": upload,
    "logged model": lambda: CLIENT.create_logged_model("0", source_run_id=RUN),
    "end": lambda: CLIENT.set_terminated(RUN),
    "read": lambda: CLIENT.get_run(RUN),
}


def tried(write: Callable[[], object]) -> str:
    try:
        write()
    except HTTPError as error:
        return str(error.response.text if error.response is not None else error)
    except MlflowException as error:
        return str(error)
    return "done"


if __name__ == "__main__":
    print(json.dumps({what: tried(write) for what, write in WRITES.items()}))  # noqa: T201
