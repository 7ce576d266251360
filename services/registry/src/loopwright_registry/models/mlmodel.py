"""What an MLmodel file, or JSON in a tag, says of a package.

The format of the file is that of https://mlflow.org/docs/latest/ml/model/.
"""

import json
from collections.abc import Mapping
from typing import Any

from loopwright_common.deploy_policy import Policy
from loopwright_common.errors import InvalidError
from loopwright_common.policy_reader import PolicyError, read_policy
from loopwright_registry.mlflow.domain import Tags


def format_of(mlmodel: Mapping[str, Any]) -> str:
    """The package format: `onnx`, `sklearn-skops`, `sklearn-pickle`, else the first flavor.

    For people: what is served, and how, the deployer finds out from the package itself.
    InvalidError where the MLmodel file names no flavors.
    """
    flavors = mlmodel.get("flavors")
    if not isinstance(flavors, Mapping) or not flavors:
        raise InvalidError("the MLmodel file names no flavors")
    if "onnx" in flavors:
        return "onnx"
    sklearn = flavors.get("sklearn")
    if isinstance(sklearn, Mapping):
        skops = sklearn.get("serialization_format") == "skops"
        return "sklearn-skops" if skops else "sklearn-pickle"
    return next((str(name) for name in flavors if name != "python_function"), "python_function")


def signature_of(mlmodel: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The inputs and outputs of an MLmodel file as lists; None where it has no signature.

    InvalidError where one of them is no list of JSON.
    """
    signature = mlmodel.get("signature")
    if not isinstance(signature, Mapping):
        return None
    lists = {name: _list(name, signature.get(name)) for name in ("inputs", "outputs")}
    present = {name: value for name, value in lists.items() if value is not None}
    return present or None


def json_tag(tags: Tags, key: str) -> dict[str, Any] | None:
    """The JSON object in a tag; raises InvalidError naming the tag when it is none."""
    if key not in tags:
        return None
    value = parse_json(tags[key])
    if not isinstance(value, dict):
        raise InvalidError(f"tag {key}: give a JSON object", field=key)
    return value


def policy_tag(tags: Tags, key: str, kind: type[Policy]) -> dict[str, Any] | None:
    """The policy in a tag as it is written there; InvalidError says all that is wrong with it."""
    value = json_tag(tags, key)
    try:
        read_policy(kind, value)
    except PolicyError as error:
        raise InvalidError(f"tag {key}: {error}", field=key) from None
    return value


def parse_json(given: object) -> object:
    """The JSON value that a text says or that is given; None where no database could keep it."""
    try:
        value = json.loads(given) if isinstance(given, str) else given
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return None
    return value


def _list(name: str, text: object) -> list[Any] | None:
    if text is None:
        return None
    value = parse_json(text)
    if not isinstance(value, list):
        raise InvalidError(f"the MLmodel file's signature.{name} is no JSON list")
    return value
