"""What a skops file is made of: the nodes of its schema, each held against the list of types."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from loopwright_common.model_files.skops_types import LISTED, TYPES


@dataclass(frozen=True, slots=True)
class HeldTypes:
    """The types of a skops file by name: all of them, and those beyond the listed ones.

    A listed type that comes in a way in which no estimator holds it is `NAME as LOADER`, which
    nobody can trust: in some ways skops calls it with what the file says.
    """

    names: frozenset[str]
    foreign: frozenset[str]


def held_types(path: Path) -> HeldTypes:
    """What a checked skops file holds; what skops trusts by itself does not count."""
    with ZipFile(path) as archive:
        nodes = list(_nodes(json.loads(archive.read("schema.json"))))
    names = frozenset(_name(node) for node in nodes)
    return HeldTypes(names, frozenset(name for node in nodes if (name := _foreign(node))))


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Everything that names a loader, wherever it lies: more than skops looks at, never less."""
    left: list[Any] = [schema]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "__loader__" in value and not isinstance(value["__loader__"], dict):
                yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _foreign(node: dict[str, Any]) -> str | None:
    loader, name = node["__loader__"], _name(node)
    if loader == "JsonNode" or name in TYPES.get(str(loader), ()):
        return None
    if loader == "MethodNode":
        content = node.get("content")
        return f"{name}.{content.get('func') if isinstance(content, dict) else None}"
    return f"{name} as {loader}" if name in LISTED else name


def _name(node: dict[str, Any]) -> str:
    return f"{node.get('__module__')}.{node.get('__class__')}"
