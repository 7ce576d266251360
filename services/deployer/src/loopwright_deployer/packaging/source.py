"""What a registered package says of itself: its `MLmodel` file, signature and example."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_common.serving import Column, Tensor

TENSOR_INPUT = "input"
_TYPES = {"double", "float", "long", "integer", "boolean", "string", "datetime"}


@dataclass(frozen=True, slots=True)
class Source:
    """A package; `columns` and `tensor` are None where it has no signature."""

    flavor: str
    file: Path
    columns: list[Column] | None
    tensor: Tensor | None
    example: dict[str, list[Any]] | None


def read_source(directory: Path) -> Source:
    """InvalidError, with what to do, when the package cannot be served."""
    import yaml

    try:
        mlmodel = yaml.safe_load((directory / "MLmodel").read_text())
        flavors = dict(mlmodel["flavors"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidError(f"the package has no readable MLmodel file: {error}") from None
    flavor, name = _flavor(flavors)
    columns, tensor = _inputs(mlmodel.get("signature"))
    file = _inside(directory, name)
    return Source(flavor, file, columns, tensor, _example(directory, mlmodel, columns, tensor))


def _flavor(flavors: dict[str, Any]) -> tuple[str, str]:
    if "onnx" in flavors:
        return "onnx", str(flavors["onnx"]["data"])
    sklearn = flavors.get("sklearn", {})
    if sklearn.get("serialization_format") == "skops":
        return "sklearn-skops", str(sklearn["pickled_model"])
    raise InvalidError(
        f"flavors {', '.join(sorted(flavors))}: log the model as skops (scikit-learn) or onnx"
    )


def _inside(directory: Path, name: str) -> Path:
    file = (directory / name).resolve()
    if not file.is_relative_to(directory.resolve()) or not file.is_file():
        raise InvalidError(f"MLmodel names {name!r}, which is no file of the package")
    return file


def _inputs(signature: dict[str, Any] | None) -> tuple[list[Column] | None, Tensor | None]:
    if not signature or not signature.get("inputs"):
        return None, None
    inputs = json.loads(signature["inputs"])
    if any(one["type"] == "tensor" for one in inputs):
        return None, _tensor(inputs)
    for one in inputs:
        if one.get("name") is None or one["type"] not in _TYPES:
            raise InvalidError(
                f"signature: column {one.get('name')!r} has type {one['type']!r}; "
                f"served are {', '.join(sorted(_TYPES))}"
            )
    return [Column(name=o["name"], type=o["type"], required=o.get("required", True)) for o in inputs], None  # fmt: skip  # noqa: E501


def _tensor(inputs: list[dict[str, Any]]) -> Tensor:
    if len(inputs) != 1:
        raise InvalidError("signature: one tensor input is served, or columns; this has several")
    spec = inputs[0]["tensor-spec"]
    return Tensor(
        name=inputs[0].get("name") or TENSOR_INPUT, dtype=spec["dtype"], shape=spec["shape"][1:]
    )


def _example(
    directory: Path, mlmodel: dict[str, Any], columns: list[Column] | None, tensor: Tensor | None
) -> dict[str, list[Any]] | None:
    """A few example rows by input name; None where the package brings none."""
    told = mlmodel.get("saved_input_example_info") or {}
    if told.get("type") not in ("dataframe", "ndarray"):
        return None
    try:
        content = json.loads(_inside(directory, told["artifact_path"]).read_text())
    except (ValueError, InvalidError):
        return None
    if tensor is not None:
        rows = content.get("inputs", content) if isinstance(content, dict) else content
        return {tensor.name: rows[:5]} if isinstance(rows, list) else None
    names = content.get("columns") if isinstance(content, dict) else None
    if not names or {column.name for column in columns or ()} - set(names):
        return None
    return {name: [row[i] for row in content["data"][:5]] for i, name in enumerate(names)}
