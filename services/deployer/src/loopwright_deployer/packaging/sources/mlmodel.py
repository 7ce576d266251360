"""What a registered package says of itself: its `MLmodel` file, signature and example."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError, without_paths
from loopwright_common.serving.spec import Column, Tensor
from loopwright_deployer.packaging.sources.flavors import Loader, isolated_flavor, served_flavor

TENSOR_INPUT = "input"
_TYPES = {"double", "float", "long", "integer", "boolean", "string", "datetime"}


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A package; `columns` and `tensor` are None where it has no signature."""

    flavor: str
    file: Path
    columns: list[Column] | None
    tensor: Tensor | None
    example: dict[str, list[Any]] | None
    model_class: str = ""
    directory: Path = Path()
    loader: Loader | None = None
    """Given where the package is served from a process of its own."""
    refusal: str = ""
    trusted: list[str] = field(default_factory=list)
    """Types that a skops file may hold, beyond those that skops trusts by itself."""
    classes: list[Any] | None = None
    """A classifier's, where the package names them."""


def read_source(directory: Path) -> PackageSource:
    """InvalidError, with what to do, when the package cannot be served."""
    import yaml

    try:
        mlmodel = yaml.safe_load((directory / "MLmodel").read_text())
        flavors = dict(mlmodel["flavors"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidError(
            f"the package has no readable MLmodel file: {without_paths(error)}"
        ) from None
    refused, loader = "", None
    try:
        flavor, name = served_flavor(flavors)
    except InvalidError as error:
        refused = str(error)
        flavor, name, loader = isolated_flavor(flavors, refused)
    columns, tensor = _inputs(mlmodel.get("signature"))
    return PackageSource(
        flavor=flavor,
        file=_inside(directory, name),
        columns=columns,
        tensor=tensor,
        example=_example(directory, mlmodel, columns, tensor),
        model_class=str(flavors.get(flavor, {}).get("model_class", "")),
        directory=directory,
        loader=loader,
        refusal=refused,
        classes=_classes(mlmodel, flavors),
    )


def _classes(mlmodel: dict[str, Any], flavors: dict[str, Any]) -> list[Any] | None:
    metadata = mlmodel.get("metadata") or {}
    own = metadata.get("loopwright") if isinstance(metadata, dict) else None
    named = (own or flavors.get("river") or {}).get("classes")
    return list(named) if named else None


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
    info = mlmodel.get("saved_input_example_info") or {}
    if info.get("type") not in ("dataframe", "ndarray"):
        return None
    try:
        content = json.loads(_inside(directory, info["artifact_path"]).read_text())
    except (ValueError, InvalidError):
        return None
    if tensor is not None:
        rows = content.get("inputs", content) if isinstance(content, dict) else content
        return {tensor.name: rows[:5]} if isinstance(rows, list) else None
    names = content.get("columns") if isinstance(content, dict) else None
    if not names or {column.name for column in columns or ()} - set(names):
        return None
    return {name: [row[i] for row in content["data"][:5]] for i, name in enumerate(names)}
