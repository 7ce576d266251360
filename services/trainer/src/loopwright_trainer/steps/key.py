"""Step keys: what a step's result follows from, and nothing else.

Run ids, times and build numbers are no part of `Parts`, so they cannot enter a key.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

KEY_VERSION = 1
_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyParts:
    """Everything a step's result follows from.

    `deps` maps paths to digests, `params` maps files to values by dotted key.
    """

    stage: str
    commands: Sequence[str]
    wdir: str
    outs: Sequence[str]
    deps: Mapping[str, str]
    params: Mapping[str, Mapping[str, object]]
    environment: str
    python: str
    platform: str
    seed: int | None = None
    version: int = KEY_VERSION

    def to_json(self) -> dict[str, object]:
        return json.loads(_canonical(asdict(self)))  # type: ignore[no-any-return]


def step_key(parts: KeyParts) -> str:
    """The same parts always give the same key, different parts a different one."""
    return "sha256:" + hashlib.sha256(_canonical(asdict(parts))).hexdigest()


def explain(new: Mapping[str, object], old: Mapping[str, object]) -> list[str]:
    """What differs between two sets of parts (as JSON), one phrase each, down to the param."""
    phrases = []
    for part in sorted(new.keys() | old.keys()):
        before, after = old.get(part), new.get(part)
        if _same(before, after):
            continue
        if part == "deps":
            phrases += _changes("dep", _mapping(before), _mapping(after), values=False)
        elif part == "params":
            phrases += _param_changes(_mapping(before), _mapping(after))
        else:
            phrases.append(_phrase(part, before, after))
    return phrases


def nearest(
    new: Mapping[str, object], earlier: Sequence[Mapping[str, object]]
) -> Mapping[str, object] | None:
    """The earlier parts with the fewest differences; they are given with the newest first."""
    return min(earlier, key=lambda old: len(explain(new, old)), default=None)


def _phrase(part: str, before: object, after: object) -> str:
    if part == "commands":
        return "the command changed"
    if part == "environment":
        return "the environment changed (lock file or installed packages)"
    if part == "version":
        return "an entry of an older key version"
    return f"{part} changed from {_short(before)} to {_short(after)}"


def _param_changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    phrases = []
    for file in sorted(before.keys() | after.keys()):
        old, new = _flat(_mapping(before.get(file))), _flat(_mapping(after.get(file)))
        changes = _changes("param", old, new, values=True)
        same = _same(before.get(file, _MISSING), after.get(file, _MISSING))
        phrases += changes or ([] if same else [f"params of {file} changed"])
    return phrases


def _changes(
    what: str, before: Mapping[str, object], after: Mapping[str, object], *, values: bool
) -> list[str]:
    phrases = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, _MISSING), after.get(name, _MISSING)
        if _same(old, new):
            continue
        if old is _MISSING:
            phrases.append(f"{what} {name} is new")
        elif new is _MISSING:
            phrases.append(f"{what} {name} is gone")
        elif values:
            phrases.append(f"{what} {name} changed from {_short(old)} to {_short(new)}")
        else:
            phrases.append(f"{what} {name} changed")
    return phrases


def _same(before: object, after: object) -> bool:
    """Equal as JSON: unlike in Python, 1 is neither 1.0 nor true."""
    if before is _MISSING or after is _MISSING:
        return before is after
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _canonical(value: object) -> bytes:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode()


def _plain(value: object) -> object:
    """The value as JSON that keeps apart what YAML keeps apart, such as keys 1 and "1"."""
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else f"\0{type(key).__name__}:{key}": _plain(below)
            for key, below in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return f"\0float:{value}"
    if value is None or isinstance(value, str | int | float):
        return value
    return f"\0{type(value).__name__}:{value}"
