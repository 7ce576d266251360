"""A River learner as a package that the registry takes and the scorer opens without pickle."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_common.serving import river_json

_TYPES = {bool: "boolean", int: "long", float: "double", str: "string"}


def save(
    learner: Any,
    directory: Path,
    rows: Sequence[Mapping[str, Any]],
    classes: Sequence[Any] | None = None,
) -> Path:
    """Write MLflow's layout with the learner as JSON; `rows` are examples, and name the inputs.

    Give `classes` where the learner may not have seen all. InvalidError says why a learner cannot
    be kept as JSON, or which value of the first row has no type that is served.
    """
    try:
        content = river_json.dumps(learner)
    except river_json.NotPlainError as error:
        raise InvalidError(str(error)) from None
    inputs = [{"type": _type(name, one), "name": name} for name, one in rows[0].items()]
    flavor: dict[str, Any] = {"model": "model.json", "river_version": version("river")}
    if classes is not None:
        flavor["classes"] = list(classes)
    described = {
        "flavors": {"river": flavor},
        "signature": {"inputs": json.dumps(inputs)},
        "saved_input_example_info": {"artifact_path": "input_example.json", "type": "dataframe"},
    }
    example = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows[:5]]}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.json").write_text(content)
    # JSON is YAML.
    (directory / "MLmodel").write_text(json.dumps(described))
    (directory / "input_example.json").write_text(json.dumps(example))
    (directory / "requirements.txt").write_text(f"river=={version('river')}\n")
    return directory


def _type(name: str, value: Any) -> str:
    if type(value) not in _TYPES:
        raise InvalidError(
            f"input {name!r} is {value!r:.40}: truth, whole numbers, numbers and text are served"
        )
    return _TYPES[type(value)]
