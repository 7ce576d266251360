"""Which rows of a table are in a Parquet file too, told by 64 bits of what each row holds.

Two different rows have the same digest with a chance of 5e-20: among 20,000 rows looked up in a
million, one is taken for known by mistake with a chance of 1e-9.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loopwright_common.errors import InvalidError

MOST_VALUES = 150_000_000
"""Of a file that is looked through: 5 million rows of 30 columns, some 15 s."""
_ROWS_AT_ONCE = _BYTES_AT_ONCE = 1 << 16
_BATCHES_COMPARED = 16
"""Of a file with itself: a million rows, or 8 MiB of digests."""
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_NULL = np.uint64(0x9E3779B97F4A7C15)
Digests = NDArray[np.uint64]
Encoder = Callable[[Any], Digests]


class FoundRows(NamedTuple):
    """For each row of a table whether a file has it too, [n].

    `repeated` is the share of the file's own rows that hold what another one holds, among the first
    million: about as many rows that nobody took from it are found in it by chance.
    """

    rows: NDArray[np.bool_]
    repeated: float


def rows_found_in(table: Any, parquet: Path, needed: Sequence[str]) -> FoundRows:
    """Which rows of an Arrow table the file has too.

    Two rows are the same where all columns are that both have and that can be compared (but the
    index of pandas, which says where a row lay): 1, 1.0 and True are, and missing and NaN; floats
    of 32 and 64 bits to 32.
    Reads the file in parts. InvalidError where it lacks a column of the `needed` or has too many
    values, or where those of a column cannot be compared; ArrowException or OSError where it is no
    Parquet file.
    """
    from pyarrow import parquet as pq

    file = pq.ParquetFile(parquet, buffer_size=_BYTES_AT_ONCE, pre_buffer=False)
    if (values := _values_in(file.metadata)) > MOST_VALUES:
        raise InvalidError(f"has {values:,} values, and at most {MOST_VALUES:,} are looked through")
    encoders = _encoders(table.schema, file.schema_arrow, needed)
    ordered, place = np.unique(_digests(table.to_batches(), encoders), return_inverse=True)
    found = np.zeros(len(ordered), dtype=np.bool_)
    first: list[Digests] = []
    if len(ordered):
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(encoders), use_threads=False):
            digests = _digests([batch], encoders)
            at = np.minimum(np.searchsorted(ordered, digests), len(ordered) - 1)
            found[at[ordered[at] == digests]] = True
            if len(first) < _BATCHES_COMPARED:
                first.append(digests)
    return FoundRows(np.asarray(found[place], dtype=np.bool_), _repeated(first))


def _repeated(batches: Sequence[Digests]) -> float:
    """The share of the rows that are there more than once."""
    if not batches:
        return 0.0
    _, counts = np.unique(np.concatenate(batches), return_counts=True)
    return float(counts[counts > 1].sum() / counts.sum())


def _values_in(metadata: Any) -> int:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    return sum(group.column(at).num_values for group in groups for at in range(group.num_columns))


def _encoders(own: Any, other: Any, needed: Sequence[str]) -> dict[str, Encoder]:
    shared = sorted(
        name for name in set(own.names) & set(other.names) if not _PANDAS_INDEX.fullmatch(name)
    )
    if lacking := sorted(set(needed) - set(shared)):
        raise InvalidError(f"lacks {', '.join(lacking)}")
    found = {}
    for name in shared:
        encoder = _encoder(own.field(name).type, other.field(name).type)
        if encoder is None and name not in needed:
            continue  # such as bytes, which no version takes
        if encoder is None:
            types = f"{own.field(name).type} in one file and {other.field(name).type} in the other"
            raise InvalidError(f"cannot be compared by column {name}, which is {types}")
        found[name] = encoder
    return found


def _digests(batches: Iterable[Any], encoders: Mapping[str, Encoder]) -> Digests:
    """One of each row, [n]."""
    parts = [np.empty(0, dtype=np.uint64)]
    for batch in batches:
        row = np.zeros(batch.num_rows, dtype=np.uint64)
        for name, encoder in encoders.items():
            row = _mixed(row + _mixed(encoder(batch.column(name))))
        parts.append(row)
    return np.concatenate(parts)


def _encoder(own: Any, other: Any) -> Encoder | None:
    """What makes values of either type comparable; None where they are of different kinds."""
    import pyarrow as pa

    own, other = _plain(own), _plain(other)
    if pa.types.is_null(own) or pa.types.is_null(other):
        own = other = other if pa.types.is_null(own) else own
    types, both = pa.types, (own, other)
    if all(map(_is_list, both)):
        item = _encoder(own.value_type, other.value_type)
        return _of_lists(item) if item else None
    if all(types.is_timestamp(one) or types.is_date(one) for one in both):
        return _of_times
    if all(_is_text(one) for one in both):
        return _of_texts
    if all(types.is_integer(one) or types.is_boolean(one) for one in both):
        return _of_integers
    if all(_is_number(one) for one in both):
        single = any(types.is_float32(one) or types.is_float16(one) for one in both)
        return _of_floats(pa.float32() if single else pa.float64())
    return _of_texts if types.is_null(own) else None


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    while pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return kind in (pa.string(), pa.large_string(), pa.string_view())


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
    )


def _of_integers(array: Any) -> Digests:
    import pyarrow as pa

    array = _decoded(array)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    return _filled(array, array.cast(pa.int64(), safe=False))


def _of_floats(kind: Any) -> Encoder:
    def encode(array: Any) -> Digests:
        import pyarrow as pa

        array = _decoded(array)
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.uint8())
        values = array.cast(kind, safe=False).cast(pa.float64()).fill_null(np.nan)
        numbers = values.to_numpy(zero_copy_only=False) + 0.0  # -0.0 is 0.0.
        return np.where(np.isnan(numbers), _NULL, numbers.view(np.uint64))

    return encode


def _of_times(array: Any) -> Digests:
    """Microseconds since 1970; a time without a zone is taken for UTC."""
    import pyarrow as pa

    array = _decoded(array)
    return _filled(array, array.cast(pa.timestamp("us"), safe=False).view(pa.int64()))


def _of_texts(array: Any) -> Digests:
    import pyarrow as pa

    coded = _decoded(array).cast(pa.large_string()).dictionary_encode()
    texts = coded.dictionary.to_pylist()
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    known = np.append(np.frombuffer(digests, dtype=np.uint64), _NULL)
    places = coded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    return np.asarray(known[places], dtype=np.uint64)


def _of_lists(item: Encoder) -> Encoder:
    def encode(array: Any) -> Digests:
        import pyarrow as pa
        from pyarrow import compute as pc

        if pa.types.is_null(array.type):
            return np.full(len(array), _NULL)
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(lengths, dtype=np.int64)
        places = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        # Of items by their place, so that the same ones in another order are another list.
        items = _mixed(item(array.flatten()) + _mixed(places.astype(np.uint64)))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(items, dtype=np.uint64)])
        whole = sums[ends] - sums[ends - lengths] + _mixed(lengths.astype(np.uint64))
        return np.where(_missing(array), _NULL, whole)

    return encode


def _decoded(array: Any) -> Any:
    import pyarrow as pa

    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _filled(array: Any, whole_numbers: Any) -> Digests:
    values = whole_numbers.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)
    return np.where(_missing(array), _NULL, values)


def _missing(array: Any) -> NDArray[np.bool_]:
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)


def _mixed(values: Digests) -> Digests:
    """Each bit of a value in all of the result (splitmix64; Steele, Lea and Flood, 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), dtype=np.uint64)
