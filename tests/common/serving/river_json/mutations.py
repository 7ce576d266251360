"""Documents damaged in every way that a forger would think of, from a seed."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from loopwright_common.serving import river_json
from tests.common.serving.river_json.learners import CLASSIFIERS, REGRESSORS, taught

Document = dict[str, Any]
NAMES = """
    river.datasets.synth.agrawal:Agrawal river.datasets.base:RemoteDataset river.stream.cache:Cache
    river.stream.iter_csv:iter_csv river.compat.sklearn_to_river:SKL2RiverClassifier os:system
    river.base.base:inspect.sys.exit builtins:eval builtins:exec builtins:open builtins:getattr
    builtins:map builtins:type builtins:object subprocess:Popen importlib:import_module pickle:loads
    functools:partial operator:attrgetter operator:methodcaller river.compose.func:FuncTransformer
    river.stats.mean:Mean river.stats.quantile:Quantile river.imblearn.hard_sampling:Triplet
    river.tree.splitter.ebst_splitter:EBSTNode river._river_rust.stats:RsIQR copy:deepcopy
    river._river_rust.vectordict:VectorDict river._river_rust.drift:AdaptiveWindowing
    antigravity:fly this:d site:main webbrowser:open ctypes:CDLL socket:socket
""".split()  # noqa: SIM905
ATTRIBUTES = "__class__ __dict__ __init__ __setstate__ predict_one learn_one steps __call__ a.b ''"
PLAIN: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    2**70,
    1e308,
    "x",
    "",
    [],
    [[]],
    {},
    {"at": -1},
    {"at": 0.5},
]
REFERENCES = [{"float": "1"}, {"float": "nan"}, {"bytes": "A"}, {"bytes": "AAAA"}, {"at": 10**9}]


def corpus() -> list[str]:
    """Sound documents, small ones."""
    texts = [river_json.dumps(taught(name, 8)) for name in (*CLASSIFIERS, *REGRESSORS)]
    return [text for text in texts if len(text) < 6000]


def damaged(documents: list[str], seed: int, count: int) -> Iterator[str]:
    """As many texts, each a document with one to four things wrong."""
    draw = random.Random(seed)  # noqa: S311
    for _ in range(count):
        document = json.loads(draw.choice(documents))
        for _ in range(draw.randint(1, 4)):
            draw.choice(MUTATIONS)(document, draw)
        text = json.dumps(document)
        yield _torn(text, draw) if draw.random() < 0.1 else text


def _torn(text: str, draw: random.Random) -> str:
    at = draw.randrange(len(text))
    middle = draw.choice(["", "[" * 3000, "NaN", "\x00", "9" * 5000, '{"a":' * 3000, "\ud800"])
    return text[:at] + middle + text[at + draw.randint(0, 3) :]


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of an entry with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _spots(value[key])


def _any_spot(document: Document, draw: random.Random) -> tuple[Any, Any]:
    return draw.choice(list(_spots(draw.choice(document["heap"])))[:500] or [(document, "root")])


def _any_entry(document: Document, draw: random.Random) -> Document:
    entry: Document = draw.choice(document["heap"])
    return entry or {"list": []}


def _replace(document: Document, draw: random.Random) -> None:
    holder, key = _any_spot(document, draw)
    somewhere = {"at": draw.randrange(len(document["heap"]))}
    holder[key] = copy.deepcopy(draw.choice([*PLAIN, *REFERENCES, *[somewhere] * 12]))


def _rename(document: Document, draw: random.Random) -> None:
    entry = _any_entry(document, draw)
    for key in ("object", "compiled", "name", "method"):
        if key in entry:
            entry[key] = draw.choice(NAMES)


def _forge(document: Document, draw: random.Random) -> None:
    """An entry that calls, makes or binds what it names."""
    heap, name = document["heap"], draw.choice(NAMES)
    ref = {"at": draw.randrange(len(heap))}
    heap[draw.randrange(len(heap))] = draw.choice(
        [
            {"call": name, "arguments": [ref], "state": None},
            {"new": name, "arguments": [], "state": ref},
            {"object": name, "state": {"feature_names": ref}},
            {"object": name, "state": {}, "items": [ref, ref]},
            {"compiled": name, "arguments": [0.5, 3], "state": "AAAA"},
            {"method": draw.choice(["__reduce__", "clone", "learn_one", name]), "of": ref},
            {"name": name},
            {"partial": ref, "arguments": [ref], "keywords": [["a", 1]]},
            {"defaultdict": [[1, ref]], "factory": ref},
            {"random": [3, [1] * 625, None]},
            {"array": "AAAA", "dtype": "O", "shape": [1], "order": "C"},
            {"array": "", "dtype": "f8", "shape": [0, 2**62], "order": "C"},
            {"vector": [["a", ref]], "factory": ref, "mask": [ref]},
        ]
    )


def _nest(document: Document, draw: random.Random) -> None:
    """A chain of tuples, each within the next, or a ring of them."""
    heap, length = document["heap"], draw.choice([3, 90, 150])
    first, kind = len(heap), draw.choice(["tuple", "frozenset", "list", "itemgetter"])
    heap += [{kind: [{"at": first + i + 1}]} for i in range(length)]
    heap.append({kind: [{"at": first}] if draw.random() < 0.5 else []})
    holder, key = _any_spot(document, draw)
    holder[key] = {"at": first}


def _mislabel(document: Document, draw: random.Random) -> None:
    """Content under the name of another kind, or under two."""
    entry = _any_entry(document, draw)
    key, other = draw.choice(list(entry)), draw.choice(list(_any_entry(document, draw)))
    entry[other] = entry[key] if draw.random() < 0.5 else entry.pop(key)


def _misname(document: Document, draw: random.Random) -> None:
    objects = [entry for entry in document["heap"] if isinstance(entry.get("state"), dict)]
    if objects:
        state = draw.choice(objects)["state"]
        state[draw.choice(ATTRIBUTES.split())] = {"at": draw.randrange(len(document["heap"]))}


def _drop(document: Document, draw: random.Random) -> None:
    entry = _any_entry(document, draw)
    entry.pop(draw.choice(list(entry)))


MUTATIONS: list[Callable[[Document, random.Random], None]] = [
    *[_replace, _rename, _forge, _misname],
    *[_nest, _mislabel, _drop],
]
