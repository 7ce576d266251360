"""The pages of Parquet files that others wrote, and of files that are none."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from loopwright_common.errors import InvalidError
from loopwright_common.files.parquet_pages import PageSize, column_chunks, page_sizes

ROWS = 5_000
TABLE = pa.table(
    {"number": np.arange(ROWS, dtype=float), "text": [f"t{n % 50}" for n in range(ROWS)],
     "lists": [[n, n] for n in range(ROWS)]}
)  # fmt: skip


def pages_of(body: bytes, limit: int = 1000) -> list[list[PageSize]]:
    view = memoryview(body)
    return [page_sizes(view, chunk, limit) for chunk in column_chunks(view, limit)]


def written(table: pa.Table = TABLE, **more: Any) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, data_page_size=1024, **more)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_pages_have_the_values_and_bytes_of_their_column(version: str, compression: str) -> None:
    body = written(data_page_version=version, compression=compression, write_page_checksum=True)
    group = parquet.read_metadata(pa.BufferReader(body)).row_group(0)

    for number, pages in enumerate(pages_of(body)):
        chunk = group.column(number)
        assert len(pages) > 1
        assert sum(page.values for page in pages) >= chunk.num_values
        assert 0 < sum(page.unpacked for page in pages) <= chunk.total_uncompressed_size


def test_a_file_with_too_many_pages_is_refused() -> None:
    with pytest.raises(InvalidError, match="too many pages"):
        pages_of(written(), limit=1)


@pytest.mark.parametrize("junk", [b"\xff", b"\x19", b"\x1c", b"\x99"])
def test_what_is_no_page_is_refused(junk: bytes) -> None:
    body = written()

    with pytest.raises(InvalidError):
        pages_of(body[:4] + junk * 2000 + body[2004:])


def test_columns_lie_where_pyarrow_finds_them() -> None:
    wide = pa.table({f"c{number}": [number, None] * 10 for number in range(3000)})
    for table, rows in ((TABLE, 700), (wide, 20)):
        body = written(table, row_group_size=rows)
        metadata = parquet.read_metadata(pa.BufferReader(body))
        expected = []
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(number)
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                expected.append(
                    (
                        start,
                        start + chunk.total_compressed_size,
                        chunk.num_values,
                        chunk.physical_type == "BYTE_ARRAY",
                    )
                )
        assert column_chunks(memoryview(body), 10_000) == expected
