"""Arrow and Parquet bodies: the same answers as JSON, and nothing that hurts others."""

import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.scorer.serving import serving

STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"
INFER, INVOKE = "/v2/models/bank/infer", "/models/bank/invocations"
ROWS: dict[str, list[Any]] = {
    "age": [41.0, None, 22.5],
    "visits": [2, 0, 7],
    "job": ["clerk", None, "nurse"],
    "balance": [10.5, 0.25, None],
}


@pytest.fixture(scope="module")
def http(package_dirs: dict[str, Path]) -> Generator[httpx.Client]:
    """Of `bank`, that has columns, and `pixels`, that takes a tensor [2, 2]."""
    packages = {"bank": package_dirs["trained"], "pixels": package_dirs["summing"]}
    with serving(packages) as at, httpx.Client(base_url=f"http://{at}") as client:
        yield client


def packed(media: str, table: pa.Table, **more: Any) -> bytes:
    sink = pa.BufferOutputStream()
    if media == PARQUET:
        parquet.write_table(table, sink, **more)
    else:
        open_writer = pa.ipc.new_stream if media == STREAM else pa.ipc.new_file
        with open_writer(sink, table.schema, options=pa.ipc.IpcWriteOptions(**more)) as writer:
            writer.write_table(table, max_chunksize=max(2, table.num_rows))
    return bytes(sink.getvalue())


def unpacked(media: str, body: bytes) -> dict[str, list[Any]]:
    if media == PARQUET:
        return dict(parquet.read_table(pa.BufferReader(body)).to_pydict())
    open_reader = pa.ipc.open_stream if media == STREAM else pa.ipc.open_file
    return dict(open_reader(body).read_all().to_pydict())


def expected(http: httpx.Client) -> dict[str, Any]:
    types = {"age": "FP64", "visits": "INT64", "job": "BYTES", "balance": "FP64"}
    inputs = [
        {"name": name, "datatype": types[name], "shape": [3], "data": data}
        for name, data in ROWS.items()
    ]
    outputs = http.post(INFER, json={"inputs": inputs}).json()["outputs"]
    return {output["name"]: output["data"] for output in outputs}


def post(http: httpx.Client, path: str, media: str, body: bytes, **headers: str) -> httpx.Response:
    return http.post(path, content=body, headers={"content-type": media, **headers})


@pytest.mark.parametrize("media", [STREAM, FILE, PARQUET])
def test_a_table_is_answered_with_a_table_of_the_same_format(
    http: httpx.Client, media: str
) -> None:
    answer = post(http, INFER, media, packed(media, pa.table(ROWS)))

    assert answer.headers["content-type"] == media
    assert "-v3-" in answer.headers["loopwright-prediction-id"]
    answered, known = unpacked(media, answer.content), expected(http)
    assert answered["label"] == known["label"]
    assert np.ravel(answered["probabilities"]) == pytest.approx(known["probabilities"])


def test_the_answer_to_a_table_may_be_json_or_another_format(http: httpx.Client) -> None:
    body = packed(STREAM, pa.table(ROWS))
    as_json = post(http, INFER, STREAM, body, accept="application/json")
    as_parquet = post(http, INFER, STREAM, body, accept=f"{PARQUET}, */*")

    assert as_json.json()["outputs"][0]["data"] == expected(http)["label"]
    assert unpacked(PARQUET, as_parquet.content)["label"] == expected(http)["label"]


@pytest.mark.parametrize("media", [STREAM, FILE, PARQUET])
def test_mlflows_path_answers_tables_in_json_unless_asked(http: httpx.Client, media: str) -> None:
    body = packed(media, pa.table(ROWS))
    as_json, as_table = (
        post(http, INVOKE, media, body),
        post(http, INVOKE, media, body, accept=media),
    )

    assert as_json.json() == {"predictions": expected(http)["label"]}
    assert unpacked(media, as_table.content)["label"] == expected(http)["label"]


@pytest.mark.parametrize(
    ("media", "more"),
    [
        (STREAM, {"compression": "zstd"}),
        (FILE, {"compression": "lz4"}),
        (PARQUET, {"compression": "gzip"}),
    ],
)
def test_compressed_tables_are_read(http: httpx.Client, media: str, more: dict[str, str]) -> None:
    answer = post(http, INFER, media, packed(media, pa.table(ROWS), **more))

    assert unpacked(media, answer.content)["label"] == expected(http)["label"]


@pytest.mark.parametrize(
    "columns",
    [
        {"job": pa.array(ROWS["job"]).dictionary_encode()},
        {"job": pa.array(ROWS["job"], pa.large_string())},
        {"visits": pa.array(ROWS["visits"], pa.int8())},
        {"age": pa.array(ROWS["age"], pa.float32())},
        {"age": pa.array([41, None, 22], pa.int64()), "balance": pa.array([None, None, None])},
        {"age": pa.array([41, None, 22], pa.decimal128(9, 2)), "balance": pa.nulls(3)},
        {"extra": pa.array([{"a": 1}] * 3).field("a")},
    ],
)
def test_columns_of_many_types_are_read(http: httpx.Client, columns: dict[str, pa.Array]) -> None:
    answer = post(http, INFER, STREAM, packed(STREAM, pa.table({**ROWS, **columns})))

    assert answer.status_code == 200, answer.text
    assert unpacked(STREAM, answer.content)["label"] == expected(http)["label"]


@pytest.mark.parametrize(
    "rows",
    [
        pa.FixedSizeListArray.from_arrays(
            pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8.0)), 2), 2
        ),
        pa.array([[[0.0, 1.0], [2.0, 3.0]], [[4.0, 5.0], [6.0, 7.0]]]),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(8.0).reshape(2, 2, 2)),
    ],
)
def test_lists_are_the_rows_of_a_tensor(http: httpx.Client, rows: pa.Array) -> None:
    table = pa.table({"pixels": rows})
    answer = post(http, "/v2/models/pixels/infer", STREAM, packed(STREAM, table))

    assert unpacked(STREAM, answer.content) == {"prediction": [6.0, 22.0]}


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"visits": pa.array([1, None, 2])}, "'visits': value 1 is null"),
        ({"visits": pa.array([1.5, 2, 3])}, "'visits': datatype FP64: send INT64"),
        ({"job": pa.array([1, 2, 3])}, "'job': datatype INT64: send BYTES"),
        ({"job": pa.array([1, 2, 3], pa.timestamp("us"))}, "'job': times"),
        ({"job": pa.array([{"a": 1}] * 3)}, "'job': columns of type struct"),
        ({"job": pa.array(["x"] * 3, pa.string_view())}, "'job': columns of type string_view"),
        ({"age": pa.array([[1.0], [2.0, 3.0], []])}, "'age': the lists differ in length"),
        ({"age": pa.array([[1.0], None, [2.0]])}, "'age': a list is missing"),
    ],
)
def test_a_column_that_does_not_fit_is_named(
    http: httpx.Client, columns: dict[str, pa.Array], says: str
) -> None:
    answer = post(http, INFER, STREAM, packed(STREAM, pa.table({**ROWS, **columns})))

    assert answer.status_code == 400
    assert says in answer.json()["error"]


def _bomb(media: str) -> bytes:
    """A body that would become some hundred times as large."""
    table = pa.table({"job": ["x" * (1 << 20)] * 260})
    if media == PARQUET:
        return packed(media, table, compression="zstd", use_dictionary=False)
    return packed(media, table, compression="lz4")


def _many_rows() -> bytes:
    return packed(STREAM, pa.table({"age": pa.nulls(1 << 26)}))


def _long_lists() -> bytes:
    lists = pa.FixedSizeListArray.from_arrays(pa.nulls(1 << 26), 1 << 25)
    return packed(STREAM, pa.table({"age": lists}))


def _torn_offsets() -> bytes:
    """Text whose offsets point outside of it."""
    body = packed(STREAM, pa.table({"job": ["abcdefg", "hij"]}))
    right, wrong = (np.array([0, end, 10], np.int32).tobytes() for end in (7, 1 << 30))
    assert body.count(right) == 1
    return body.replace(right, wrong)


BROKEN: dict[str, Callable[[], tuple[str, bytes]]] = {
    "no Arrow": lambda: (STREAM, b"x" * 100),
    "no Arrow file": lambda: (FILE, b"x" * 100),
    "no Parquet": lambda: (PARQUET, b"PAR1" + b"x" * 100 + b"PAR1"),
    "nothing": lambda: (STREAM, b""),
    "half a stream": lambda: (STREAM, packed(STREAM, pa.table(ROWS))[:-300]),
    "no rows": lambda: (STREAM, packed(STREAM, pa.table(ROWS).slice(0, 0))),
    "a name twice": lambda: (STREAM, packed(STREAM, pa.table([[1], [2]], ["age", "age"]))),
    "rows without bytes": lambda: (STREAM, _many_rows()),
    "long lists without bytes": lambda: (STREAM, _long_lists()),
    "offsets outside": lambda: (STREAM, _torn_offsets()),
}


@pytest.mark.parametrize("path", [INFER, INVOKE])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_body_is_refused_in_the_protocols_shape(
    http: httpx.Client, kind: str, path: str
) -> None:
    answer = post(http, path, *BROKEN[kind]())

    assert answer.status_code in (400, 413), answer.text
    assert answer.json().keys() == ({"error"} if path == INFER else {"error_code", "message"})


@pytest.mark.parametrize("media", [STREAM, FILE, PARQUET])
def test_a_small_body_that_unpacks_to_too_much_is_refused(http: httpx.Client, media: str) -> None:
    answer = post(http, INFER, media, _bomb(media))

    assert answer.status_code == 413
    assert "REQUEST_BUFFER" in answer.json()["error"]


HURT = """
import random, sys
import pyarrow as pa
from loopwright_common.errors import InvalidError
from loopwright_scorer.protocols.arrow import codec
from loopwright_scorer.tensors.tensors import TensorType
from tests.scorer.protocols.arrow.test_codec import packed
chance = random.Random(7)
INPUTS = [TensorType("age", "FP64", (-1,)), TensorType("plan", "BYTES", (-1,))]
table = pa.table({"age": [1.0, 2.0], "plan": ["pro", None], "lists": [[1], [2, 3]]})
for media in codec.COLUMNAR:
    whole = packed(media, table)
    for _ in range(3000):
        body = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            body[chance.randrange(len(body))] = chance.choice((0, 1, 127, 128, 255))
        if not isinstance(codec._declared_size(bytes(body), media), InvalidError):
            codec._read(bytes(body), media, INPUTS)
print("alive")
"""


def test_no_body_that_was_hurt_ends_the_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HURT], capture_output=True, text=True, check=False
    )
    assert ended.stdout == "alive\n", ended.stderr[-2000:]
