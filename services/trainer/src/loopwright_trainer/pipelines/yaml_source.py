"""YAML values that know where they stand, so that every complaint names file and line."""

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

import yaml

from loopwright_common.deploy_policy import parse_duration
from loopwright_common.errors import without_paths
from loopwright_common.names import path_fault, shown, unknown_key
from loopwright_trainer.pipelines.file_faults import FileError, FileFault

YamlPath = tuple[str | int, ...]
MAX_FILE_BYTES = 1 << 20
_MAX_NODES = 50_000
MAX_DEPTH = 50
LONGEST_TEXT = 100_000
"""Characters; Linux starts no command with an argument of more than 128 KiB."""


class Place(NamedTuple):
    """Where a key or a value begins in its file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class YamlNode:
    """A value and its place in a file; readers raise FileError naming file, line and key."""

    value: object
    file: str
    places: Mapping[YamlPath, Place]
    yaml_path: YamlPath = ()

    def reject(self, sentence: str) -> NoReturn:
        raise FileError([self.fault(sentence)])

    def fault(self, sentence: str) -> FileFault:
        """A fault of this value, at its place or at that of the nearest value around it."""
        yaml_path = self.yaml_path
        while yaml_path and yaml_path not in self.places:
            yaml_path = yaml_path[:-1]
        line, column = self.places.get(yaml_path, (1, None))
        return FileFault(self.file, sentence, line, column, dotted(self.yaml_path))

    def with_value(self, value: object) -> "YamlNode":
        return replace(self, value=value)

    def child(self, key: str | int, value: object) -> "YamlNode":
        return replace(self, value=value, yaml_path=(*self.yaml_path, key))

    def mapping(self, allowed: Collection[str] | None = None) -> dict[str, "YamlNode"]:
        """The entries by key; all keys outside `allowed` are refused at once."""
        if not isinstance(self.value, dict):
            self.reject(f"must be a mapping, not {kind_of(self.value)}")
        children = {str(key): self.child(str(key), value) for key, value in self.value.items()}
        if allowed is not None:
            unknown = [key for key in children if key not in allowed]
            faults = [children[key].fault(unknown_key(key, allowed)) for key in unknown]
            if faults:
                raise FileError(faults)
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
        """The whole number written here; FileError with file and line for anything else."""
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
        seconds = duration.total_seconds()
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


class _Loader(yaml.CSafeLoader):
    """Says where a value stands that is not of the kind that it looks like or is tagged with."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, KeyError, AttributeError):
            kind = node.tag.rsplit(":", maxsplit=1)[-1]
            problem = f"{shown(str(node.value))} is no {kind}; write a text in quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def load(content: bytes, file: str) -> YamlNode:
    """Parse a YAML file; FileError with line and column where it is none."""
    if len(content) > MAX_FILE_BYTES:
        raise FileError([FileFault(file, "larger than 1 MiB")])
    try:
        text = content.decode()
        _require_shallow(text, file)
        loader = _Loader(text)
        node = loader.get_single_node()
        places = _places_of(node, file) if node else {}
        value = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, None)
        reason = getattr(error, "problem", None) or without_paths(error).partition("\n")[0]
        raise FileError([FileFault(file, f"not YAML: {reason}", line, column)]) from None
    except UnicodeDecodeError as error:
        raise FileError([FileFault(file, f"not UTF-8: {error.reason}")]) from None
    return YamlNode(value, file, places)


def dotted(yaml_path: YamlPath) -> str:
    return ".".join(str(part) for part in yaml_path)


def kind_of(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false"}
    if value is None:
        return "nothing"
    return names.get(type(value), f"{value!r}")


def _require_shallow(text: str, file: str) -> None:
    """FileError where values nest deeper than the native composer, which calls itself, bears."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH + 1:
            raise _too_large(file)


def _too_large(file: str) -> FileError:
    return FileError([FileFault(file, "too many or too deeply nested values")])


def _places_of(root: yaml.Node, file: str) -> dict[YamlPath, Place]:
    """The place of every key, and of every value that has none.

    Aliases are followed, so nodes are counted against a bomb. FileError names all keys that are
    given twice.
    """
    places: dict[YamlPath, Place] = {}
    twice: list[FileFault] = []
    waiting: list[tuple[YamlPath, yaml.Node]] = [((), root)]
    while waiting:
        yaml_path, node = waiting.pop()
        places.setdefault(yaml_path, _place(node))
        if len(places) > _MAX_NODES or len(yaml_path) > MAX_DEPTH:
            raise _too_large(file)
        if isinstance(node, yaml.SequenceNode):
            waiting += [((*yaml_path, index), item) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*yaml_path, str(key.value))
                if below in places and key.value != "<<":
                    twice.append(FileFault(file, "given twice", *_place(key), dotted(below)))
                else:
                    places[below] = _place(key)
                    waiting.append((below, value))
    if twice:
        raise FileError(sorted(twice, key=lambda fault: fault.line or 0))
    return places


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
