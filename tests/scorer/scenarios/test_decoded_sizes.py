"""What small bodies unpack to: it has a bound in memory, and others are answered meanwhile."""

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.scorer.protocols.arrow.test_codec import FILE, PARQUET, STREAM, packed
from tests.scorer.test_staging_server import order, staging

INFER, INVOKE = "/v2/models/bank/infer", "/models/bank/invocations"
JSON, CSV = "application/json", "text/csv"
MIB = 1 << 20
BUDGET = 256 * MIB
"""What a staging process keeps for requests."""
Bomb = tuple[str, Mapping[str, str], bytes]


def zeros(count: int) -> pa.Table:
    return pa.table({"age": np.zeros(count)})


def stream(table: pa.Table, media: str = STREAM) -> bytes:
    return packed(media, table, compression="zstd")


def rows_of_one_list() -> bytes:
    """A dictionary of one long list, which each row names."""
    lists = pa.array([[0.0] * 100_000], pa.list_(pa.float64()))
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int8)), lists)
    return stream(pa.table({"age": column}))


def misstated_parquet() -> bytes:
    """A file whose end says that its one page is small, where the page's own head knows better."""
    sink = pa.BufferOutputStream()
    table = pa.table({"job": ["x" * (96 * MIB)]})
    parquet.write_table(table, sink, compression="zstd", use_dictionary=False)
    body = bytes(sink.getvalue())
    size = parquet.read_metadata(pa.BufferReader(body)).row_group(0).column(0)
    wrong = body
    for told in (size.total_uncompressed_size, 96 * MIB):
        wrong = wrong[:200] + wrong[200:].replace(varint(told), varint(7, len(varint(told))))
    found = parquet.read_metadata(pa.BufferReader(wrong)).row_group(0).column(0)
    assert found.total_uncompressed_size == 7
    return wrong


def varint(number: int, length: int = 0) -> bytes:
    """Thrift's, made longer than it has to be where a length is given."""
    left, encoded = number << 1, bytearray()
    while left > 127 or len(encoded) + 1 < length:
        encoded.append(left & 127 | 128)
        left >>= 7
    return bytes([*encoded, left])


def bombs() -> list[Bomb]:
    arrow = {"content-type": STREAM}
    text = {"content-type": JSON}
    wide = ",".join(f"c{number}" for number in range(300_000)) + "\n"
    records = [{f"c{number}": 0} for number in range(60_000)]
    made: list[Bomb] = [
        (INFER, arrow, stream(zeros(30_000_000))),
        (INFER, arrow, stream(zeros(10_000_000))),
        (INFER, arrow, stream(zeros(10_000_000))),
        (INFER, arrow, stream(zeros(10_000_000))),
        (INFER, {"content-type": FILE}, stream(zeros(10_000_000), FILE)),
        (INFER, arrow, stream(pa.table({"job": ["x"] * 4_000_000}))),
        (INFER, arrow, stream(pa.table({"age": pa.nulls(20_000_000)}))),
        (INFER, arrow, rows_of_one_list()),
        (INFER, {"content-type": PARQUET}, packed(PARQUET, zeros(30_000_000))),
        (INFER, {"content-type": PARQUET}, packed(PARQUET, zeros(10_000_000))),
        (INFER, {"content-type": PARQUET}, misstated_parquet()),
        (INFER, {**text, "content-encoding": "gzip"}, gzip.compress(b" " * (100 * MIB), 1)),
        (INVOKE, {"content-type": CSV}, (wide + "1\n" * 300_000).encode()),
        (INVOKE, text, json.dumps({"dataframe_records": records}).encode()),
        (INVOKE, text, ('{"dataframe_split": {"data": [[' + "0," * 400_000 + "0]"
                        + ",[0]" * 400_000 + "]}}").encode()),
        (INFER, text, b'{"inputs": [' + b"{}," * MIB + b"{}]}"),
    ]  # fmt: skip
    return made


def peak(process: int) -> int:
    """The most memory that a process has had, in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10


async def answered_until(http: httpx.AsyncClient, is_over: Callable[[], bool]) -> int:
    """How often the health probe is answered; it may not wait for the bombs."""
    count = 0
    while not is_over():
        (await http.get("/livez", timeout=15)).raise_for_status()
        count += 1
    return count


async def test_what_is_decoded_stays_within_the_budget(package_dirs: dict[str, Path]) -> None:
    made = bombs()
    limits = httpx.Limits(max_connections=None)
    async with (
        staging(order(package_dirs["trained"])) as (process, started),
        httpx.AsyncClient(base_url=started["url"], trust_env=False, limits=limits) as http,
    ):
        (await http.post(INFER, headers={"content-type": STREAM}, content=stream(zeros(1)))).json()
        before = peak(process.pid)
        asked = asyncio.gather(
            *(http.post(path, headers=h, content=body, timeout=240) for path, h, body in made)
        )
        probed = await answered_until(http, asked.done)
        answers = await asked
        after = peak(process.pid)

    assert len(made) == 16
    assert {answer.status_code for answer in answers} <= {400, 413, 503}
    assert all(answer.json() for answer in answers)
    assert probed > 0
    assert after - before < 2 * BUDGET


@pytest.mark.parametrize("media", [STREAM, PARQUET])
async def test_a_text_that_is_there_once_for_many_rows_counts_for_each(
    package_dirs: dict[str, Path], media: str
) -> None:
    rows = 2000
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * MIB])
    async with (
        staging(order(package_dirs["trained"])) as (_, started),
        httpx.AsyncClient(base_url=started["url"], trust_env=False) as http,
    ):
        inputs = (await http.get("/v2/models/bank")).json()["inputs"]
        columns = {
            each["name"]: text if each["datatype"] == "BYTES" else np.zeros(rows) for each in inputs
        }
        body = packed(media, pa.table(columns), compression="zstd")
        refused = await http.post(INFER, headers={"content-type": media}, content=body, timeout=240)

    assert len(body) < MIB
    assert refused.status_code == 413, refused.text
    assert "bytes of memory" in refused.text
