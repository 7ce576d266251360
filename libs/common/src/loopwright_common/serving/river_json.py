"""River's learners as JSON, reopened without pickle. Needs nothing but the standard library.

The document is `{"format": 1, "root": REF, "heap": [...]}`. A REF is a plain value or `{"at": i}`,
a place in the heap, so that shared and cyclic objects stay what they are. Only classes and
functions that river itself defines, and a few containers, are ever looked up.
"""

from __future__ import annotations

import base64
import importlib
import json
import math
import sys
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

FORMAT = 1
_PLAIN = (bool, int, float, str)
_CONTAINERS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}
_KINDS = frozenset({*_CONTAINERS, "name", "method", "array", "scalar", "new", "call"})
_FOREIGN = frozenset(
    {f"builtins.{name}" for name in ("bool", "int", "float", "str", *_CONTAINERS)}
    | {f"collections.{name}" for name in ("Counter", "OrderedDict", "defaultdict", "deque")}
    | {"datetime.date", "datetime.datetime", "datetime.timedelta"}
    | {"functools.partial", "operator.itemgetter", "random.Random", "statistics.NormalDist"}
    | {"copy.deepcopy"}
)
_COMPILED = "river._river_rust"
_DEEPEST = 50_000
_REMEDY = "such a learner can be registered as a pickle only"


class NotPlainError(Exception):
    """The learner holds something that JSON in this form cannot hold; says what."""


def dumps(learner: Any) -> str:
    """The learner's document; NotPlainError names what does not go."""
    writer = _Writer()
    root = _deep(writer.ref, learner)
    return json.dumps({"format": FORMAT, "root": root, "heap": writer.heap}, allow_nan=False)


def loads(text: str) -> Any:
    """The learner of a document; NotPlainError where it names anything but river's own."""
    document = json.loads(text)
    if document.get("format") != FORMAT:
        raise NotPlainError(f"format {document.get('format')!r}: this reads format {FORMAT}")
    return _deep(_Reader(document["heap"]).value, document["root"])


class _Writer:
    def __init__(self) -> None:
        self.heap: list[Any] = []
        self._seen: dict[int, tuple[int, Any]] = {}

    def ref(self, value: Any) -> Any:
        if type(value) is float and not math.isfinite(value):
            return {"float": str(value)}
        if value is None or type(value) in _PLAIN:
            return value
        if type(value) is bytes:
            return {"bytes": base64.b64encode(value).decode()}
        if id(value) not in self._seen:
            place = len(self.heap)
            # Held, for the identity of a passing object may be given again.
            self._seen[id(value)] = place, value
            self.heap.append(None)
            self.heap[place] = self._described(value)
        return {"at": self._seen[id(value)][0]}

    def _described(self, value: Any) -> dict[str, Any]:
        if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
            return {"name": _name(value)}
        if type(value) is MethodType:
            return {"method": value.__name__, "of": self.ref(value.__self__)}
        if type(value) is dict:
            return {"dict": self._pairs(value.items())}
        if type(value) in _CONTAINERS.values():
            return {type(value).__name__: [self.ref(each) for each in value]}
        return self._array(value) or self._reduced(value)

    def _array(self, value: Any) -> dict[str, Any] | None:
        """Numbers of numpy's; None for anything else."""
        if type(value).__module__ != "numpy" or not hasattr(value, "dtype"):
            return None
        if value.dtype.kind not in "biuf":
            raise NotPlainError(f"an array of {value.dtype} is no array of numbers")
        if type(value).__name__ != "ndarray":
            return {"scalar": self.ref(value.item()), "dtype": value.dtype.str}
        order = "F" if value.flags.fnc else "C"
        content = base64.b64encode(value.tobytes(order)).decode()
        shape = list(value.shape)
        return {"array": content, "dtype": value.dtype.str, "shape": shape, "order": order}

    def _reduced(self, value: Any) -> dict[str, Any]:
        reduced = value.__reduce_ex__(4)
        if isinstance(reduced, str):
            raise NotPlainError(f"{_kind(value)} is not plain state; {_REMEDY}")
        made, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        is_new = getattr(made, "__name__", "") == "__newobj__"
        made, arguments = (arguments[0], arguments[1:]) if is_new else (made, arguments)
        if not isinstance(made, type):
            raise NotPlainError(f"{_kind(value)} is not plain state; {_REMEDY}")
        described: dict[str, Any] = {
            "new" if is_new else "call": _name(made),
            "arguments": [self.ref(each) for each in arguments],
            "state": self.ref(state),
        }
        if items is not None:
            described["items"] = [self.ref(each) for each in items]
        if pairs is not None:
            described["pairs"] = self._pairs(pairs)
        return described

    def _pairs(self, pairs: Any) -> list[Any]:
        return [[self.ref(key), self.ref(value)] for key, value in pairs]


class _Reader:
    def __init__(self, heap: list[Any]) -> None:
        self._heap = heap
        self._made: dict[int, Any] = {}

    def value(self, ref: Any) -> Any:
        if not isinstance(ref, dict):
            return ref
        if "float" in ref:
            return float(ref["float"])
        if "bytes" in ref:
            return base64.b64decode(ref["bytes"])
        place = ref["at"]
        if place not in self._made:
            self._make(place, self._heap[place])
        return self._made[place]

    def _make(self, place: int, fields: dict[str, Any]) -> None:
        (kind,) = fields.keys() & _KINDS
        if kind in ("list", "set", "dict"):
            # There before its content, which may lead back to it.
            made = self._made[place] = _CONTAINERS[kind]()
            self._fill(made, fields[kind])
        elif kind in ("new", "call"):
            self._construct(place, fields)
        else:
            self._made[place] = self._finished(kind, fields)

    def _finished(self, kind: str, fields: dict[str, Any]) -> Any:
        """What has no content to be filled in later."""
        if kind == "name":
            return _named(fields["name"])
        if kind == "method":
            return _method(self.value(fields["of"]), fields["method"])
        if kind in ("array", "scalar"):
            return _array(fields, self.value)
        return _CONTAINERS[kind](map(self.value, fields[kind]))

    def _construct(self, place: int, fields: dict[str, Any]) -> None:
        made = _named(fields.get("new") or fields["call"])
        arguments = [self.value(each) for each in fields["arguments"]]
        if not _may_make(made, "call" in fields):
            raise NotPlainError(f"{_kind(made)} {made!r} makes no state of river's")
        new = made.__new__(made, *arguments) if "new" in fields else made(*arguments)
        self._made[place] = new
        if fields["state"] is not None:
            _restore(new, self.value(fields["state"]))
        for item in fields.get("items", ()):
            new.append(self.value(item))
        self._fill(new, fields.get("pairs", ()))

    def _fill(self, into: Any, content: Any) -> None:
        if isinstance(into, list):
            into.extend(map(self.value, content))
        elif isinstance(into, set):
            into.update(map(self.value, content))
        else:
            for key, value in content:
                into[self.value(key)] = self.value(value)


def _restore(new: Any, state: Any) -> None:
    """As pickle does."""
    restore = getattr(new, "__setstate__", None)
    if restore is not None:
        restore(state)
        return
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if attributes:
        new.__dict__.update(attributes)
    for name, value in (slots or {}).items():
        setattr(new, name, value)


def _name(value: Any) -> str:
    module, name = str(value.__module__), str(value.__qualname__)
    if not (_is_river(module) or f"{module}.{name}" in _FOREIGN) or "<" in name:
        raise NotPlainError(f"{module}.{name} is neither plain state nor river's own; {_REMEDY}")
    return f"{module}:{name}"


def _named(qualified: str) -> Any:
    module, _, name = qualified.partition(":")
    if not (_is_river(module) or f"{module}.{name}" in _FOREIGN):
        raise NotPlainError(f"{qualified} is not river's own")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
        # What a module of river's imports is not its own.
        if getattr(found, "__module__", None) != module:
            raise NotPlainError(f"{qualified} is not river's own")
    return found


def _method(of: Any, name: str) -> Any:
    if not _is_river(type(of).__module__) or name.startswith("__"):
        raise NotPlainError(f"{name} is no method of river's")
    return getattr(of, name)


def _array(fields: dict[str, Any], value: Any) -> Any:
    import numpy as np

    dtype = np.dtype(fields["dtype"])
    if dtype.kind not in "biuf":
        raise NotPlainError(f"an array of {dtype} is no array of numbers")
    if "scalar" in fields:
        return dtype.type(value(fields["scalar"]))
    content = np.frombuffer(base64.b64decode(fields["array"]), dtype)
    return content.reshape(fields["shape"], order=fields["order"]).copy(order="K")


def _is_river(module: str) -> bool:
    return module == "river" or module.startswith("river.")


def _may_make(made: Any, is_call: bool) -> bool:
    """River's Python classes are restored without their constructors; only compiled ones run."""
    is_python = _is_river(made.__module__) and not made.__module__.startswith(_COMPILED)
    return isinstance(made, type) and not (is_call and is_python)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _deep(call: Any, value: Any) -> Any:
    """Trees are as deep as they have grown."""
    former = sys.getrecursionlimit()
    sys.setrecursionlimit(max(former, _DEEPEST))
    try:
        return call(value)
    finally:
        sys.setrecursionlimit(former)
