"""Parameter files: reading them, and picking the keys that a stage declares."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

from loopwright_common.errors import InvalidError
from loopwright_common.names import shown
from loopwright_trainer.pipelines.file_faults import FileError, FileFault
from loopwright_trainer.pipelines.yaml_source import MAX_DEPTH, load

DEFAULT_FILE = "params.yaml"


@dataclass(frozen=True, slots=True)
class ParamUse:
    """What a stage takes from a parameter file: dotted keys, or None for the whole file."""

    file: str
    keys: tuple[str, ...] | None


def read_params(content: bytes, file: str) -> dict[str, object]:
    """The values of a YAML, JSON or TOML file; FileError where it does not parse."""
    suffix = PurePosixPath(file).suffix
    try:
        if suffix == ".json":
            values = json.loads(content)
        elif suffix == ".toml":
            values = tomllib.loads(content.decode())
        else:
            values = load(content, file).value
    except (ValueError, UnicodeDecodeError) as error:
        raise FileError([FileFault(file, f"cannot be read: {error}")]) from None
    except RecursionError:
        raise _too_deep(file) from None
    _require_usable(values, file)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise FileError([FileFault(file, "must be a mapping of parameters")])
    return values


def select_params(values: Mapping[str, object], use: ParamUse, stage: str) -> dict[str, object]:
    """The declared parameters by dotted key; InvalidError for one the file lacks."""
    if use.keys is None:
        return dict(values)
    return {key: _look_up(values, key, use.file, stage) for key in use.keys}


def narrowed(picked: Mapping[str, object], file: str) -> bytes | None:
    """A parameter file with the picked keys only; None where the format cannot be written."""
    nested: dict[str, object] = {}
    for dotted, value in picked.items():
        *parents, last = dotted.split(".")
        level = nested
        for parent in parents:
            below = level.setdefault(parent, {})
            if not isinstance(below, dict):
                break
            level = below
        else:
            level[last] = value
    suffix = PurePosixPath(file).suffix
    if suffix == ".toml":
        return None
    if suffix == ".json":
        return json.dumps(nested, indent=2).encode()
    return yaml.safe_dump(nested, sort_keys=True).encode()


def _require_usable(values: object, file: str) -> None:
    """FileError where values nest deeper than functions that call themselves go, or hold halves
    of characters, which JSON can write and nothing can print.
    """
    waiting = [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _too_deep(file)
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for each in (*value, *value.values())]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value]
        elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            raise FileError([FileFault(file, f"{shown(value)} is no Unicode text")])


def _too_deep(file: str) -> FileError:
    return FileError([FileFault(file, f"values are nested over {MAX_DEPTH} levels deep")])


def _look_up(values: Mapping[str, object], dotted: str, file: str, stage: str) -> object:
    value: object = values
    for part in dotted.split("."):
        if not isinstance(value, dict) or part not in value:
            raise InvalidError(
                f"stage {stage}: {file} has no parameter {dotted!r}", field=f"stages.{stage}.params"
            )
        value = value[part]
    return value
