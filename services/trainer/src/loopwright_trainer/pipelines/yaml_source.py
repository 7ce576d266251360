"""YAML values that know where they stand, so that every complaint names file and line."""

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

import yaml

from loopwright_common.deploy_policy import parse_duration
from loopwright_common.errors import InvalidError
from loopwright_common.names import path_fault, shown

YamlPath = tuple[str | int, ...]
_MAX_FILE_BYTES = 1 << 20
_MAX_NODES = 50_000
MAX_DEPTH = 50
LONGEST_TEXT = 100_000
"""Characters; Linux starts no command with an argument of more than 128 KiB."""


@dataclass(frozen=True, slots=True)
class YamlNode:
    """A value and its place in a file; readers raise InvalidError naming file, line and key."""

    value: object
    file: str
    lines: Mapping[YamlPath, int]
    yaml_path: YamlPath = ()

    def reject(self, message: str) -> NoReturn:
        raise InvalidError(f"{self.where}: {message}", field=self.dotted or self.file)

    @property
    def dotted(self) -> str:
        return ".".join(str(part) for part in self.yaml_path)

    @property
    def where(self) -> str:
        yaml_path = self.yaml_path
        while yaml_path and yaml_path not in self.lines:
            yaml_path = yaml_path[:-1]
        prefix = f"{self.file}:{self.lines.get(yaml_path, 1)}"
        return f"{prefix}: {self.dotted}" if self.yaml_path else prefix

    def with_value(self, value: object) -> "YamlNode":
        return replace(self, value=value)

    def child(self, key: str | int, value: object) -> "YamlNode":
        return replace(self, value=value, yaml_path=(*self.yaml_path, key))

    def mapping(self, allowed: Collection[str] | None = None) -> dict[str, "YamlNode"]:
        """The entries by key; keys outside `allowed` are refused."""
        if not isinstance(self.value, dict):
            self.reject(f"must be a mapping, not {kind_of(self.value)}")
        children = {str(key): self.child(str(key), value) for key, value in self.value.items()}
        for key, child in children.items():
            if allowed is not None and key not in allowed:
                child.reject(f"unknown key; allowed are {', '.join(sorted(allowed))}")
        return children

    def items(self) -> list["YamlNode"]:
        """The elements of a list; a single value counts as a list of one."""
        if isinstance(self.value, list):
            return [self.child(index, value) for index, value in enumerate(self.value)]
        return [self]

    def text(self) -> str:
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float):
            self.reject(f"must be a text, not {kind_of(self.value)}")
        text = str(self.value)
        if not text.strip() or "\0" in text:
            self.reject("must not be empty")
        if len(text) > LONGEST_TEXT:
            self.reject(f"has {len(text)} characters; at most {LONGEST_TEXT} are taken")
        return text

    def texts(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self.items())

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            self.reject(f"must be true or false, not {kind_of(self.value)}")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """The whole number written here; InvalidError with file and line for anything else."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.reject(f"must be a whole number, not {kind_of(self.value)}")
        if not low <= self.value <= high:
            self.reject(f"is {self.value}; allowed are {low} to {high}")
        return self.value

    def seconds(self) -> float:
        """A duration above zero such as `10m`, in seconds."""
        try:
            duration = parse_duration(self.value)
        except ValueError as error:
            self.reject(str(error))
        seconds: float = duration.total_seconds()  # type: ignore[attr-defined]
        if seconds <= 0:
            self.reject("must be longer than zero")
        return seconds

    def path(self, base: str = "") -> str:
        """A path relative to `base`, as one relative to the repository's root."""
        text = self.text()
        joined = posixpath.normpath(posixpath.join(base, text))
        if text.startswith("/") or joined.startswith("..") or ".git" in joined.split("/"):
            self.reject(f"{text!r} leaves the repository; give a path inside it")
        if fault := path_fault(joined):
            self.reject(f"{shown(joined)} {fault}")
        return joined


def load(content: bytes, file: str) -> YamlNode:
    """Parse a YAML file; InvalidError with the line where it is none."""
    if len(content) > _MAX_FILE_BYTES:
        raise InvalidError(f"{file}: larger than 1 MiB", field=file)
    try:
        text = content.decode()
        _require_shallow(text, file)
        loader = yaml.CSafeLoader(text)
        node = loader.get_single_node()
        lines = _lines_of(node, file) if node else {}
        value = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        reason = getattr(error, "problem", None) or error
        raise InvalidError(f"{file}:{line}: not YAML: {reason}", field=file) from None
    except UnicodeDecodeError as error:
        raise InvalidError(f"{file}: not UTF-8: {error.reason}", field=file) from None
    return YamlNode(value, file, lines)


def kind_of(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false"}
    if value is None:
        return "nothing"
    return names.get(type(value), f"{value!r}")


def _require_shallow(text: str, file: str) -> None:
    """InvalidError where values nest deeper than the native composer, which calls itself, bears."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH + 1:
            raise _too_large(file)


def _too_large(file: str) -> InvalidError:
    return InvalidError(f"{file}: too many or too deeply nested values", field=file)


def _lines_of(root: yaml.Node, file: str) -> dict[YamlPath, int]:
    """The line of every value; aliases are followed, so nodes are counted against a bomb."""
    lines: dict[YamlPath, int] = {}
    waiting: list[tuple[YamlPath, yaml.Node]] = [((), root)]
    while waiting:
        yaml_path, node = waiting.pop()
        lines.setdefault(yaml_path, node.start_mark.line + 1)
        if len(lines) > _MAX_NODES or len(yaml_path) > MAX_DEPTH:
            raise _too_large(file)
        if isinstance(node, yaml.SequenceNode):
            waiting += [((*yaml_path, index), item) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            waiting += _children(yaml_path, node, lines, file)
    return lines


def _children(
    yaml_path: YamlPath, node: yaml.MappingNode, lines: dict[YamlPath, int], file: str
) -> list[tuple[YamlPath, yaml.Node]]:
    children = []
    for key, value in node.value:
        below = (*yaml_path, str(key.value))
        line = key.start_mark.line + 1
        if below in lines and key.value != "<<":
            dotted = ".".join(str(part) for part in below)
            raise InvalidError(f"{file}:{line}: {dotted}: given twice", field=dotted)
        lines[below] = line
        children.append((below, value))
    return children
