"""Reads a document: makes what it describes, and calls, imports or iterates nothing it names."""

from __future__ import annotations

import base64
import inspect
import json
import math
from functools import lru_cache
from types import MemberDescriptorType
from typing import Any

from loopwright_common.errors import described

from . import allowed, containers
from .errors import NotPlainError
from .writer import FORMAT

MAX_SIZE = 1 << 29
MAX_NESTING = 100
_KINDS = frozenset(
    {*containers.EMPTY, *containers.FINISHED, "object", "compiled", "vector", "name", "method"}
)
_BYTES_PER_ENTRY = 8
_LARGEST_WINDOW = 1 << 24


def loads(text: str) -> Any:
    """The learner of a document; NotPlainError where it is none, or names what it may not."""
    if len(text) > MAX_SIZE:
        raise NotPlainError(f"{len(text)} characters: this reads at most {MAX_SIZE}")
    try:
        document = json.loads(text, parse_constant=_refuse)
        if document["format"] != FORMAT:
            raise NotPlainError(
                f"format {document['format']!r:.20}: this reads format {FORMAT};"
                " save the learner again with the river_package of this release"
            )
        return _Reader(document["heap"]).read(document["root"])
    except NotPlainError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever a damaged document makes of itself)
        raise NotPlainError(f"no document: {described(error)}"[:300]) from None


def _refuse(constant: str) -> None:
    raise NotPlainError(f"{constant} is no JSON")


class _Reader:
    def __init__(self, heap: list[dict[str, Any]]) -> None:
        self._heap = heap
        self._made: dict[int, Any] = {}
        self._unfilled: list[int] = []
        self._nesting = 0

    def read(self, root: Any) -> Any:
        """Without recursion but for what is whole at once, as a tuple of tuples is."""
        learner = self._value(root)
        while self._unfilled:
            self._fill(self._unfilled.pop())
        return learner

    def _value(self, ref: Any) -> Any:
        if not isinstance(ref, dict):
            if isinstance(ref, list):
                raise NotPlainError("a list stands where a value or a reference is due")
            return ref
        ((kind, content),) = ref.items()
        if kind == "at":
            return self._at(content)
        if kind == "bytes":
            return base64.b64decode(content, validate=True)
        if kind != "float" or math.isfinite(number := float(content)):
            raise NotPlainError(f"{ref!r:.100} is no reference")
        return number

    def _at(self, index: Any) -> Any:
        if type(index) is not int or not 0 <= index < len(self._heap):
            raise NotPlainError(f"{index!r:.30} is no place in the heap")
        if index not in self._made:
            self._nesting += 1
            if self._nesting > MAX_NESTING:
                raise NotPlainError(f"values lie within each other more than {MAX_NESTING} deep")
            self._made[index] = self._new(index, self._heap[index])
            self._nesting -= 1
        return self._made[index]

    def _new(self, index: int, fields: dict[str, Any]) -> Any:
        """The value itself, or an empty one that is filled once all the others are there."""
        (kind,) = fields.keys() & _KINDS
        if kind in containers.EMPTY:
            self._unfilled.append(index)
            return containers.EMPTY[kind](fields, self._value)
        if kind in containers.FINISHED:
            return containers.FINISHED[kind](fields, self._value)
        return getattr(self, f"_{kind}")(index, fields)

    def _object(self, index: int, fields: dict[str, Any]) -> Any:
        cls = allowed.find(fields["object"], allowed.CLASSES)
        if fields["state"]:
            self._unfilled.append(index)
        if "items" in fields:
            return tuple.__new__(cls, [self._value(each) for each in fields["items"]])
        return object.__new__(cls)

    def _compiled(self, _index: int, fields: dict[str, Any]) -> Any:
        cls = allowed.find(fields["compiled"], allowed.COMPILED)
        arguments, types = fields["arguments"], allowed.COMPILED[fields["compiled"]]
        if [type(each) for each in arguments] != list(types):
            raise NotPlainError(f"{arguments!r:.100} make no {cls.__name__}")
        if any(type(each) is int and not 0 <= each <= _LARGEST_WINDOW for each in arguments):
            # Rust reserves a window as it is made, and ends the process where it cannot.
            raise NotPlainError(
                f"{arguments!r:.100}: a window has at most {_LARGEST_WINDOW} values"
            )
        state = base64.b64decode(fields["state"], validate=True)
        try:
            made = cls.__new__(cls, *arguments)
            made.__setstate__(state)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001  (what Rust panics with is no Exception)
            raise NotPlainError(f"this is no {cls.__name__}, or no state of one") from None
        return made

    def _vector(self, _index: int, fields: dict[str, Any]) -> Any:
        content: dict[Any, Any] = {}
        containers.fill(content, fields["vector"], self._value)
        mask = fields["mask"]
        if mask is not None:
            containers.fill(mask := set(), fields["mask"], self._value)
        cls = allowed.find(allowed.VECTOR, {allowed.VECTOR})
        return cls(content, self._value(fields["factory"]), mask, False)

    def _name(self, _index: int, fields: dict[str, Any]) -> Any:
        return allowed.find(fields["name"], allowed.CLASSES | allowed.FUNCTIONS)

    def _method(self, _index: int, fields: dict[str, Any]) -> Any:
        return allowed.bind(self._value(fields["of"]), fields["method"])

    def _fill(self, index: int) -> None:
        made, fields = self._made[index], self._heap[index]
        if "object" not in fields:
            (kind,) = fields.keys() & _KINDS
            containers.fill(made, fields[kind], self._value)
            return
        for name, ref in fields["state"].items():
            _restore(made, name, self._value(ref))


def _restore(made: Any, name: str, value: Any) -> None:
    """Set an attribute that holds state: no other kind, such as a method, can be replaced."""
    # A class is hashable; mypy looks at the `__hash__` of its instances.
    attribute = _class_attribute(type(made), name)  # type: ignore[arg-type]
    if isinstance(attribute, MemberDescriptorType):
        attribute.__set__(made, value)
    elif name.startswith("__") or not name.isidentifier() or hasattr(type(attribute), "__get__"):
        raise NotPlainError(f"{name!r:.50} is no state of a {type(made).__name__}")
    else:
        made.__dict__[name] = value


@lru_cache(maxsize=4096)
def _class_attribute(cls: type, name: str) -> Any:
    return inspect.getattr_static(cls, name, None)
