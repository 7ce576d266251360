"""Writes a learner as a document: every object once, in the order in which it is come upon."""

from __future__ import annotations

import base64
import json
import math
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType
from typing import Any

from . import containers
from .allowed import CLASSES, COMPILED, VECTOR, name_of
from .errors import REMEDY, NotPlainError

FORMAT = 2
_NAMED = (type, FunctionType, BuiltinFunctionType, MethodDescriptorType)
_PLAIN = (bool, int, float, str)


def dumps(learner: Any) -> str:
    """The learner's document; NotPlainError names what does not go."""
    writer = _Writer()
    root = writer.ref(learner)
    writer.describe_all()
    return json.dumps({"format": FORMAT, "root": root, "heap": writer.heap}, allow_nan=False)


class _Writer:
    def __init__(self) -> None:
        self.heap: list[Any] = []
        self._places: dict[int, int] = {}
        # Held, for the identity of a passing object may be given again.
        self._objects: list[Any] = []

    def ref(self, value: Any) -> Any:
        """A plain value, or the place of what `describe_all` has yet to describe."""
        if type(value) is float and not math.isfinite(value):
            return {"float": str(value)}
        if value is None or type(value) in _PLAIN:
            return value
        if type(value) is bytes:
            return {"bytes": base64.b64encode(value).decode()}
        if id(value) not in self._places:
            self._places[id(value)] = len(self._objects)
            self._objects.append(value)
        return {"at": self._places[id(value)]}

    def describe_all(self) -> None:
        """Without recursion: trees are as deep as they have grown."""
        while len(self.heap) < len(self._objects):
            self.heap.append(self._described(self._objects[len(self.heap)]))

    def _described(self, value: Any) -> dict[str, Any]:
        if isinstance(value, _NAMED):
            return {"name": name_of(value)}
        if type(value) is MethodType:
            name_of(value.__func__)
            return {"method": value.__name__, "of": self.ref(value.__self__)}
        describe = containers.WRITERS.get(type(value))
        if describe is not None:
            return describe(value, self.ref)
        if containers.is_numpy(value):
            return containers.describe_numbers(value, self.ref)
        return self._instance(value)

    def _instance(self, value: Any) -> dict[str, Any]:
        name = f"{type(value).__module__}:{type(value).__qualname__}"
        if name in CLASSES:
            return self._object(name, value)
        if name in COMPILED:
            arguments = list(getattr(value, "__getnewargs__", tuple)())
            state = base64.b64encode(value.__getstate__()).decode()
            return {"compiled": name, "arguments": arguments, "state": state}
        if name == VECTOR:
            return self._vector(value)
        raise NotPlainError(
            f"{name.replace(':', '.')} is not among what a learner may hold; {REMEDY}"
        )

    def _object(self, name: str, value: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {"object": name, "state": {}}
        if isinstance(value, tuple):
            fields["items"] = [self.ref(each) for each in value]
        slots = (each for cls in type(value).__mro__ for each in vars(cls).get("__slots__", ()))
        state = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)}
        for attribute, held in {**state, **getattr(value, "__dict__", {})}.items():
            fields["state"][attribute] = self.ref(held)
        return fields

    def _vector(self, value: Any) -> dict[str, Any]:
        _, (content, factory, mask, _) = value.__reduce__()
        return {
            "vector": [[self.ref(key), self.ref(each)] for key, each in content.items()],
            "factory": self.ref(factory),
            "mask": None if mask is None else [self.ref(key) for key in mask],
        }
