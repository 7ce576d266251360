"""Reads a policy, and says all that is wrong with it in words of the file's author."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import ValidationError

from loopwright_common.deploy_policy import BY_ROLES, NO_APPROVAL, Policy
from loopwright_common.errors import InvalidError
from loopwright_common.names import shown, unknown_key

P = TypeVar("P", bound=Policy)
_WORDS = {
    "greater_than": "has to be more than {gt}",
    "greater_than_equal": "has to be at least {ge}",
    "less_than": "has to be less than {lt}",
    "less_than_equal": "has to be at most {le}",
    "too_short": "needs at least {min_length}",
    "finite_number": "has to be a finite number",
    "float_parsing": "has to be a number",
    "float_type": "has to be a number",
    "int_parsing": "has to be a whole number, in digits alone",
    "int_parsing_size": "has to be a whole number of fewer digits",
    "int_type": "has to be a whole number",
    "int_from_float": "has to be a whole number",
    "string_type": "has to be a text",
    "string_too_short": "is empty",
    "list_type": "has to be a list",
    "model_type": "has to be a mapping",
    "literal_error": "has to be {expected}",
    "missing": "is missing",
    "invalid_key": "has to be a text; put the key in quotes",
}
_PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?%", re.ASCII)
_TAGS = frozenset({NO_APPROVAL, BY_ROLES})


class PolicyFault(NamedTuple):
    """What is wrong at a place of a policy, in a sentence that begins after the place's name."""

    path: tuple[str | int, ...]
    sentence: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))}: {self.sentence}" if self.path else self.sentence


class PolicyError(InvalidError):
    """A policy that cannot be read, with all that is wrong with it."""

    def __init__(self, faults: Sequence[PolicyFault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


def read_policy(kind: type[P], value: object) -> P:
    """The policy that a mapping says, None being empty; PolicyError with all its faults."""
    try:
        return kind.model_validate(value if value is not None else {})
    except ValidationError as error:
        found = error.errors(include_url=False)
    raise PolicyError(
        [PolicyFault(_path(each["loc"]), _sentence(kind, each)) for each in found]
    ) from None


def _path(loc: Sequence[str | int]) -> tuple[str | int, ...]:
    return tuple(part for part in loc if part not in _TAGS)


def _sentence(kind: type[Policy], fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        *above, key = _path(fault["loc"])
        return unknown_key(str(key), _fields_at(kind, above))
    if (words := _WORDS.get(fault["type"])) is None:
        return str(fault["msg"]).removeprefix("Value error, ")
    return words.format(**fault.get("ctx", {})) + _remedy(fault)


def _remedy(fault: Mapping[str, Any]) -> str:
    """How to write what was meant, where that can be told."""
    given = fault["input"]
    if fault["loc"] and fault["loc"][-1] == NO_APPROVAL:
        return " or a mapping with `roles:`"
    if fault["type"] == "list_type" and isinstance(given, str):
        return f"; write it as [{shown(given)}]"
    if isinstance(given, str) and (share := _PERCENT.fullmatch(given)):
        return f"; write {given} as {float(share[1]) / 100:g}"
    return ""


def _fields_at(kind: type[Policy], path: Sequence[str | int]) -> Sequence[str]:
    """The keys that are allowed at a place of a policy."""
    kinds: list[type[Policy]] = [kind]
    for part in path:
        if isinstance(part, str):
            kinds = [
                inner
                for one in kinds
                if part in one.model_fields
                for inner in _policies_in(one.model_fields[part].annotation)
            ]
    return [name for one in kinds for name in one.model_fields]


def _policies_in(annotation: Any) -> list[type[Policy]]:
    if isinstance(annotation, type) and issubclass(annotation, Policy):
        return [annotation]
    return [found for part in get_args(annotation) for found in _policies_in(part)]
