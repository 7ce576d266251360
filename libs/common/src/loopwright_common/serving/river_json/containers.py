"""Values of the standard library and numpy: how each is written, and made again empty or whole.

Everything is of exactly the type named: a subclass could bring code.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from operator import itemgetter
from random import Random
from statistics import NormalDist
from typing import Any

from .errors import REMEDY, NotPlainError

Ref = Callable[[Any], Any]
"""Of a value its reference, or of a reference its value."""
Fields = dict[str, Any]


def _pairs(content: Mapping[Any, Any], ref: Ref) -> list[Any]:
    return [[ref(key), ref(value)] for key, value in content.items()]


def _all(content: Any, ref: Ref) -> list[Any]:
    return [ref(each) for each in content]


WRITERS: dict[type, Callable[[Any, Ref], Fields]] = {
    list: lambda value, ref: {"list": _all(value, ref)},
    set: lambda value, ref: {"set": _all(value, ref)},
    frozenset: lambda value, ref: {"frozenset": _all(value, ref)},
    tuple: lambda value, ref: {"tuple": _all(value, ref)},
    deque: lambda value, ref: {"deque": _all(value, ref), "size": value.maxlen},
    dict: lambda value, ref: {"dict": _pairs(value, ref)},
    Counter: lambda value, ref: {"counter": _pairs(value, ref)},
    OrderedDict: lambda value, ref: {"ordered": _pairs(value, ref)},
    defaultdict: lambda value, ref: {
        "defaultdict": _pairs(value, ref),
        "factory": ref(value.default_factory),
    },
    partial: lambda value, ref: {
        "partial": ref(value.func),
        "arguments": _all(value.args, ref),
        "keywords": _pairs(value.keywords, ref),
    },
    itemgetter: lambda value, ref: {"itemgetter": _all(value.__reduce__()[1], ref)},
    range: lambda value, _: {"range": [value.start, value.stop, value.step]},
    Random: lambda value, _: {"random": [*value.getstate()]},
    NormalDist: lambda value, _: {"normal": [value.mean, value.stdev]},
    date: lambda value, _: {"date": value.isoformat()},
    datetime: lambda value, _: {"datetime": value.isoformat()},
    timedelta: lambda value, _: {"timedelta": [value.days, value.seconds, value.microseconds]},
}
"""The fields of a value, by its type."""

EMPTY: dict[str, Callable[[Fields, Ref], Any]] = {
    "list": lambda _fields, _value: [],
    "set": lambda _fields, _value: set(),
    "deque": lambda fields, _value: deque(maxlen=fields["size"]),
    "dict": lambda _fields, _value: {},
    "counter": lambda _fields, _value: Counter(),
    "ordered": lambda _fields, _value: OrderedDict(),
    "defaultdict": lambda fields, value: defaultdict(value(fields["factory"])),
}
"""What is there before its content, which may lead back to it."""


def fill(into: Any, content: list[Any], value: Ref) -> None:
    """Put the content into one of the EMPTY; NotPlainError for a key with code of its own."""
    if isinstance(into, list | deque):
        into.extend([value(each) for each in content])
    elif isinstance(into, set):
        into.update([_key(value(each)) for each in content])
    else:
        for key, each in content:
            into[_key(value(key))] = value(each)


def _key(value: Any) -> Any:
    """Only keys that hash and compare by themselves, without code of River's."""
    if type(value) is tuple:
        return tuple(map(_key, value))
    if type(value) not in _KEYS and not isinstance(value, type) and not is_numpy(value):
        raise NotPlainError(f"a {type(value).__name__} cannot be a key")
    return value


_KEYS = frozenset({type(None), bool, int, float, str, bytes, frozenset, date, datetime, timedelta})


def _numbers(values: Any, kind: type | tuple[type, ...]) -> list[Any]:
    if not isinstance(values, list) or not all(isinstance(each, kind) for each in values):
        raise NotPlainError(f"{values!r:.100} is no list of numbers")
    return values


def _random(fields: Fields, _value: Ref) -> Random:
    version, state, gauss = fields["random"]
    made = Random(0)  # noqa: S311  (a learner's own)
    made.setstate((version, tuple(_numbers(state, int)), gauss))
    return made


def _partial(fields: Fields, value: Ref) -> Any:
    keywords = {value(name): value(each) for name, each in fields["keywords"]}
    return partial(value(fields["partial"]), *_all(fields["arguments"], value), **keywords)


_DTYPE = re.compile("[<>|][biuf][1248]")
FINISHED: dict[str, Callable[[Fields, Ref], Any]] = {
    "tuple": lambda fields, value: tuple(_all(fields["tuple"], value)),
    "frozenset": lambda fields, value: frozenset(map(_key, _all(fields["frozenset"], value))),
    "partial": _partial,
    "itemgetter": lambda fields, value: itemgetter(*map(_key, _all(fields["itemgetter"], value))),
    "range": lambda fields, _: range(*_numbers(fields["range"], int)),
    "random": _random,
    "normal": lambda fields, _: NormalDist(*_numbers(fields["normal"], (int, float))),
    "date": lambda fields, _: date.fromisoformat(fields["date"]),
    "datetime": lambda fields, _: datetime.fromisoformat(fields["datetime"]),
    "timedelta": lambda fields, _: timedelta(*_numbers(fields["timedelta"], int)),
    "array": lambda fields, _: _array(fields),
    "scalar": lambda fields, value: _dtype(fields).type(value(fields["scalar"])),
}
"""What has no content that may lead back to it."""


def is_numpy(value: Any) -> bool:
    """Whether it is an array or a scalar of numpy's, told without importing numpy."""
    return type(value).__module__ == "numpy" and hasattr(value, "dtype")


def describe_numbers(value: Any, ref: Ref) -> Fields:
    """The fields of numpy's arrays and scalars; NotPlainError for any but numbers."""
    if value.dtype.kind not in "biuf":
        raise NotPlainError(f"an array of {value.dtype} is no array of numbers; {REMEDY}")
    if type(value).__name__ != "ndarray":
        return {"scalar": ref(value.item()), "dtype": value.dtype.str}
    order = "F" if value.flags.fnc else "C"
    content = base64.b64encode(value.tobytes(order)).decode()
    shape = list(value.shape)
    return {"array": content, "dtype": value.dtype.str, "shape": shape, "order": order}


def _dtype(fields: Fields) -> Any:
    import numpy as np

    # Numpy takes much text for a dtype, and some of it it parses as Python.
    if not _DTYPE.fullmatch(fields["dtype"]):
        raise NotPlainError(f"an array of {fields['dtype']!r:.30} is no array of numbers")
    return np.dtype(fields["dtype"])


def _array(fields: Fields) -> Any:
    import numpy as np

    content = np.frombuffer(base64.b64decode(fields["array"], validate=True), _dtype(fields))
    shape = _numbers(fields["shape"], int)
    if min(shape, default=0) < 0 or math.prod(shape) != content.size:
        raise NotPlainError(f"{content.size} numbers are no array of shape {shape}")
    return content.reshape(shape, order=fields["order"]).copy(order="K")
