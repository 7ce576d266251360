"""Requests of MLflow's scoring contract: generated ones, and those that are answered otherwise."""

import csv
import json
import random
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from typing import Any

import pandas as pd

Row = dict[str, Any]
Asked = tuple[str, str | bytes]
"""Content type and body."""
JSON, CSV = "application/json", "text/csv"
PARQUET = "application/vnd.apache.parquet"
ROW: Row = {"age": 41.0, "visits": 2, "job": "clerk", "member": True, "balance": 0.5}
_USUAL: Mapping[str, Callable[[random.Random], Any]] = {
    "age": lambda draw: draw.choice([round(draw.gauss(40, 9), 3), draw.randrange(99), None]),
    "visits": lambda draw: draw.randrange(12),
    "job": lambda draw: draw.choice(["clerk", "nurse", "smith", "new to it", None, 'a "b", c']),
    "member": lambda draw: draw.choice([True, False]),
    "balance": lambda draw: draw.choice([round(draw.gauss(0, 1), 3), None, float("nan")]),
}
_ODD = ["5", "5.5", "x", "", 5, 5.5, -1, True, None, [1.0], {"a": 1}, 2**70, "1_0", " 5 ", "é"]
_ODD_TEXTS = ["5", "5.0", "x", "", "NA", "null", "True", "tRUE", "yes", "2", "1e1", " 5 ", "é\n"]


def _rows(draw: random.Random) -> list[Row]:
    """One to four rows; every second time with a value or a column that should not be there."""
    rows = [{name: make(draw) for name, make in _USUAL.items()} for _ in range(draw.randint(1, 4))]
    if draw.random() < 0.5:
        row, name = draw.choice(rows), draw.choice(list(_USUAL))
        # Numbers for text and huge numbers are answered otherwise on purpose, see below.
        row[name] = draw.choice(["x", "", None] if name == "job" else _ODD)
    for change in draw.sample([_add, _drop, _reorder], draw.randint(0, 1)):
        rows = change(draw, rows)
    return rows


def _add(draw: random.Random, rows: list[Row]) -> list[Row]:
    return [{**row, "shoe": draw.choice([43, "43", None])} for row in rows]


def _drop(draw: random.Random, rows: list[Row]) -> list[Row]:
    name = draw.choice(["age", "visits", "job", "member"])
    return [{key: value for key, value in row.items() if key != name} for row in rows]


def _reorder(draw: random.Random, rows: list[Row]) -> list[Row]:
    names = draw.sample(list(rows[0]), len(rows[0]))
    return [{name: row[name] for name in names} for row in rows]


def _split(draw: random.Random, rows: list[Row]) -> Any:
    split = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
    return {**split, "index": list(range(len(rows)))} if draw.random() < 0.5 else split


def _columns(draw: random.Random, rows: list[Row]) -> Any:
    if len(rows) == 1 and draw.random() < 0.3 and "shoe" not in rows[0]:
        return rows[0]
    return {name: [row[name] for row in rows] for name in rows[0]}


_FORMS: Mapping[str, Callable[[random.Random, list[Row]], Any]] = {
    "dataframe_split": _split,
    "dataframe_records": lambda _, rows: rows,
    "inputs": lambda draw, rows: draw.choice([rows, _columns(draw, rows)]),
    "instances": lambda _, rows: rows,
}


def _body(form: str, draw: random.Random) -> str:
    body = {form: _FORMS[form](draw, _rows(draw))}
    if draw.random() < 0.5:
        body[draw.choice(["params", "other"])] = draw.choice([{"a": 1}, {}, [1], None])
    return json.dumps(body)


def _table(draw: random.Random) -> str:
    rows = _rows(draw)
    if draw.random() < 0.5:
        draw.choice(rows)[draw.choice(["visits", "member", "age"])] = draw.choice(_ODD_TEXTS)
    text = StringIO()
    writer = csv.writer(text, lineterminator=draw.choice(["\n", "\r\n"]))
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
    return text.getvalue()


def of_columns(form: str, seed: int) -> Iterator[Asked]:
    """Requests in one JSON form, or CSV, of a model with columns."""
    draw = random.Random(f"{form} {seed}")  # noqa: S311 - to be repeated, not secret
    while True:
        yield (CSV, _table(draw)) if form == "csv" else (JSON, _body(form, draw))


def of_tensor(seed: int) -> Iterator[Asked]:
    """Requests of a model that takes [rows, 3], some of them with other shapes or values."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not secret
    while True:
        width, depth = draw.choice([3, 3, 3, 2]), draw.choice([2, 2, 2, 1, 3])
        data: Any = [draw.choice([1, 2.5, "3", None, 4.0, True]) for _ in range(width)]
        if draw.random() < 0.2:
            data[0] = draw.choice(["x", [1], {"a": 1}, ""])
        data = data if depth == 1 else [data, data] if depth == 2 else [[data]]
        form = draw.choice(["inputs", "instances", "dataframe_split"])
        yield JSON, json.dumps({form: data if form[0] == "i" else {"data": data}})


def _parquet(rows: list[Row]) -> bytes:
    return bytes(pd.DataFrame(rows).to_parquet())


def _asked(form: str, rows: object) -> Asked:
    return JSON, json.dumps({form: rows})


_SPLIT = {"columns": list(ROW), "data": [list(ROW.values())]}
_TABLE = ",".join(ROW) + "\n"
_NO_ROWS: list[Any] = [[], {}, "x", 5, None, [[]], [{}], [1], [[1, 2]], {"age": []}, [ROW, 5]]
_SPLITS: list[dict[str, Any]] = [
    {"columns": None},
    {"columns": "age"},
    {"columns": [*ROW, "age"], "data": [[*ROW.values(), 1]]},
    {"columns": list(ROW)[:3]},
    {"data": []},
    {"data": None},
    {"data": list(ROW.values())},
    {"data": [ROW]},
    {"data": [[41.0, 2], [*ROW.values()]]},
    {"index": 5},
    {"extra": 1},
]
ALIKE: list[Asked] = [
    *[(JSON, body) for body in ("", "{", "[]", "5", "null", '"x"', "{}", b"\xff\xfe{}")],
    *[_asked(form, rows) for form in _FORMS for rows in _NO_ROWS],
    *[_asked("dataframe_split", {**_SPLIT, **told}) for told in _SPLITS],
    (JSON, json.dumps({"dataframe_split": _SPLIT, "instances": [ROW]})),
    (JSON, json.dumps({"dataframe_split": _SPLIT, "messages": []})),
    _asked("dataframe_records", [ROW, {}]),
    _asked("dataframe_records", [{**ROW, "job": float("nan")}]),
    _asked("dataframe_records", [{**ROW, "member": None}]),
    _asked("dataframe_records", [{**ROW, "member": 1}, {**ROW, "member": None}]),
    _asked("inputs", {**{name: [value] * 2 for name, value in ROW.items()}, "age": [1.0]}),
    _asked("inputs", {name: [[value]] for name, value in ROW.items()}),
    _asked("instances", {name: [value] for name, value in ROW.items()}),
    *[
        (told, json.dumps({"dataframe_split": _SPLIT}))
        for told in (
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json; charset=latin-1",
            "application/json; format=pandas-split",
            "application/json; charset",
            "application/json;",
            "APPLICATION/JSON",
            "text/plain",
        )
    ],
    *[
        (CSV, _TABLE + row)
        for row in (
            "",
            '41.0,2,"a ""b"", c\nd",True,0.5',
            '41.0,2,cl"er"k,True,0.5',
            '41.0,2,"clerk,True,0.5',
            "41.0,2,clerk",
            "41.0,2,clerk,True,0.5\n\n\n42,3,nurse,false,\n",
            "41.0,2,clerk,True,0.5\n1,2,3,4,5,6",
            "41.0,99999999999999999999,clerk,True,0.5",
        )
    ],
    (CSV, ""),
    (CSV, "age,job\n1,x"),
    (CSV, "\ufeff" + _TABLE + "41.0,2,clerk,True,0.5"),
    (CSV, "," + _TABLE + "0,41.0,2,clerk,True,0.5"),
    (CSV, _TABLE.strip() + ",age\n41.0,2,clerk,True,0.5,7"),
    (CSV, b"\xff\xfe"),
    (PARQUET, _parquet([ROW, {**ROW, "job": None, "balance": None}])),
    (PARQUET, _parquet([{**ROW, "shoe": 43}])),
    (PARQUET, _parquet([{**ROW, "age": "old"}])),
    (PARQUET, _parquet([{"age": 41.0}])),
    (PARQUET, b"x"),
    ("text/csv; header=no", _TABLE + "41.0,2,clerk,True,0.5"),
]

_WITHOUT_BALANCE = {name: value for name, value in ROW.items() if name != "balance"}
OTHERWISE: Mapping[str, tuple[Asked, int, int]] = {
    "an optional column is missing where it is left out; theirs is not given to the model": (
        _asked("dataframe_records", [_WITHOUT_BALANCE]), 400, 200,
    ),
    "a number is no text; theirs never equals a category, and nobody is told": (
        _asked("dataframe_records", [{**ROW, "job": 5}]), 200, 400,
    ),
    "an object is no text; theirs becomes its Python form": (
        _asked("inputs", {**{n: [v] for n, v in ROW.items()}, "job": [{"a": 1}]}), 200, 400,
    ),
    "a number too large for its type is refused; theirs becomes another one": (
        _asked("dataframe_records", [{**ROW, "visits": 1e300}]), 200, 400,
    ),
    "an empty list is no value; theirs is missing": (
        _asked("instances", [{**ROW, "balance": []}]), 200, 400,
    ),
    "each row is answered; theirs leaves out a row that is an empty object": (
        _asked("instances", [ROW, {}]), 200, 400,
    ),
    "an index of another length is refused; theirs repeats the only row": (
        _asked("dataframe_split", {**_SPLIT, "index": [3, 4]}), 200, 400,
    ),
    "no name may be given twice; theirs may where the model does not know it": (
        _asked(
            "dataframe_split",
            {"columns": [*ROW, "z", "z"], "data": [[*ROW.values(), 1, 2]]},
        ), 200, 400,
    ),
    "what the model does not know is ignored, also beside single values": (
        _asked("inputs", {**ROW, "z": 5}), 400, 200,
    ),
    "nothing follows a closing quote": (
        (CSV, _TABLE + '41.0,2,"clerk"x,True,0.5'), 200, 400,
    ),
    "the first line may not be longer than the header; theirs moves the columns": (
        (CSV, _TABLE + "9,41.0,2,clerk,True,0.5"), 200, 400,
    ),
    "a compiled model takes infinity": (
        _asked("dataframe_records", [{**ROW, "age": float("inf")}]), 400, 200,
    ),
    "a compiled model has small floating-point numbers": (
        _asked("dataframe_records", [{**ROW, "age": 1e300}]), 200, 400,
    ),
    "a request without a type is refused; theirs fails": (
        ("", json.dumps({"dataframe_split": _SPLIT})), 500, 415,
    ),
}  # fmt: skip
