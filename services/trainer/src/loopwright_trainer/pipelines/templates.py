"""DVC's templating: `${...}` from parameters, and stages multiplied by `foreach` and `matrix`."""

import itertools
import re
from collections.abc import Iterator, Mapping

from loopwright_trainer.pipelines.yaml_source import LONGEST_TEXT, YamlNode, kind_of

_REFERENCE = re.compile(r"(?<!\\)\$\{\s*([^}]*?)\s*\}")
_PART = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
MAX_STAGES = 1000
Context = Mapping[str, object]


def fill(node: YamlNode, context: Context) -> YamlNode:
    """The value with every `${...}` replaced; a text that is one reference takes its type.

    FileError names the reference that the context lacks.
    """
    return node.with_value(_filled(node, context))


def expand(name: str, stage: YamlNode, context: Context) -> Iterator[tuple[str, YamlNode]]:
    """The stages a definition stands for, by name as DVC names them (`train@a`, `train@a-1`).

    FileError names what of `foreach` or `matrix` is wrong.
    """
    keys = stage.mapping()
    if "foreach" in keys:
        yield from _foreach(name, stage, keys, context)
    elif "matrix" in keys:
        yield from _matrix(name, stage, keys, context)
    else:
        yield name, fill(stage, context)


def _foreach(
    name: str, stage: YamlNode, keys: dict[str, YamlNode], context: Context
) -> Iterator[tuple[str, YamlNode]]:
    stage.mapping({"foreach", "do"})
    if "do" not in keys:
        stage.reject("foreach needs `do` with the stage")
    over = fill(keys["foreach"], context).value
    if isinstance(over, dict):
        pairs = list(over.items())
    elif isinstance(over, list):
        pairs = [(_label(item, index), item) for index, item in enumerate(over)]
    else:
        keys["foreach"].reject(f"must be a list or a mapping, not {kind_of(over)}")
    _bound(keys["foreach"], len(pairs))
    for key, item in pairs:
        yield f"{name}@{key}", fill(keys["do"], {**context, "item": item, "key": key})


def _matrix(
    name: str, stage: YamlNode, keys: dict[str, YamlNode], context: Context
) -> Iterator[tuple[str, YamlNode]]:
    axes = {axis: fill(values, context) for axis, values in keys["matrix"].mapping().items()}
    for axis in axes.values():
        if not isinstance(axis.value, list) or not axis.value:
            axis.reject("must be a list with at least one value")
    lists = [list(axis.value) for axis in axes.values() if isinstance(axis.value, list)]
    count = 1
    for values in lists:
        count *= len(values)
    _bound(keys["matrix"], count)
    rest = {key: node.value for key, node in keys.items() if key != "matrix"}
    for combination in itertools.product(*(list(enumerate(values)) for values in lists)):
        item = dict(zip(axes, (value for _, value in combination), strict=True))
        labels = [
            _label(value, f"{axis}{index}")
            for axis, (index, value) in zip(axes, combination, strict=True)
        ]
        key = "-".join(str(label) for label in labels)
        yield f"{name}@{key}", fill(stage.with_value(rest), {**context, "item": item, "key": key})


def _bound(node: YamlNode, count: int) -> None:
    if count > MAX_STAGES:
        node.reject(f"makes {count} stages; at most {MAX_STAGES} are allowed")


def _label(value: object, otherwise: object) -> object:
    return value if isinstance(value, str | int | float | bool) else otherwise


def _filled(node: YamlNode, context: Context) -> object:
    if isinstance(node.value, dict):
        return {key: _filled(child, context) for key, child in node.mapping().items()}
    if isinstance(node.value, list):
        return [_filled(item, context) for item in node.items()]
    if not isinstance(node.value, str):
        return node.value
    whole = _REFERENCE.fullmatch(node.value)
    if whole:
        return _look_up(node, whole[1], context)
    left = LONGEST_TEXT

    def value_of(found: re.Match[str]) -> str:
        nonlocal left
        value = _as_text(node, found[1], context)
        left -= len(value)
        if left < 0:
            node.reject(f"has over {LONGEST_TEXT} characters once its ${{...}} are filled in")
        return value

    return _REFERENCE.sub(value_of, node.value).replace("\\${", "${")


def _as_text(node: YamlNode, reference: str, context: Context) -> str:
    value = _look_up(node, reference, context)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        node.reject(f"${{{reference}}} is {kind_of(value)} and cannot stand inside a text")
    return str(value)


def _look_up(node: YamlNode, reference: str, context: Context) -> object:
    value: object = context
    for name, index in _PART.findall(reference):
        if index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        elif name and isinstance(value, Mapping) and name in value:
            value = value[name]
        else:
            node.reject(f"${{{reference}}} is not among the parameters")
    return value
