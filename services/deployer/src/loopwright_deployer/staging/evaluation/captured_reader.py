"""Reads captured rows in a process of its own: callers sent them, and Parquet's readers are native.

`python -m loopwright_deployer.staging.evaluation.captured_reader` takes one line of JSON,
`{"files": {DIGEST: PATH}, "arrays": {DIGEST: PATH}, "inputs": {NAME: [DATATYPE, SHAPE]}, "result":
PATH}`, the files newest first. It writes the calls to `result` as JSON and answers `{"wanted":
[DIGEST]}`: large inputs lie in objects of their own, and these are needed beside the `arrays`.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from loopwright_common.cloudevents import INPUT
from loopwright_common.errors import CorruptError, without_paths
from loopwright_common.process.subprocesses import take_stdout, write_answer
from loopwright_common.storage.captured_tables import redacted_of
from loopwright_deployer.staging.evaluation.recorded_calls import (
    MAX_BYTES,
    MAX_CALLS,
    MAX_OBJECTS,
    MAX_ROWS,
    MAX_ROWS_OF_A_CALL,
    InputTypes,
    RecordedCall,
)

_MAX_UNPACKED = 64 << 20
_ID, _TIME = "prediction_id", "time"
_FAULTS = (OSError, ValueError, LookupError, CorruptError)
"""Of a damaged file; Arrow's own are of these."""


@dataclass(slots=True)
class CapturedCalls:
    """What is read, newest first, within the limits of `recorded_calls`."""

    inputs: InputTypes
    arrays: Mapping[str, Path]
    calls: list[RecordedCall] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    _rows: int = 0
    _bytes: int = 0

    @property
    def is_full(self) -> bool:
        many = len(self.calls) >= MAX_CALLS or len(self.wanted) >= MAX_OBJECTS
        many = many or len(self.set_aside) >= MAX_CALLS
        return many or self._rows >= MAX_ROWS or self._bytes >= MAX_BYTES

    def read(self, files: Mapping[str, Path]) -> None:
        """Take the calls of each file, newest first; one that is damaged is set aside."""
        for digest, path in files.items():
            if self.is_full:
                return
            try:
                for call in _calls_of(path, self.inputs):
                    if self.is_full:
                        return
                    self._take(call)
            except _FAULTS as error:
                self.set_aside.append(f"{digest}: {without_paths(error)[:200]}")

    def _take(self, found: "_FoundCall") -> None:
        digests = set(chain.from_iterable(found.large.values()))
        if None in digests:
            self.set_aside.append(f"call {found.id}: an input of it was not kept")
            return
        if lacking := sorted(str(one) for one in digests - self.arrays.keys()):
            self.wanted += [one for one in lacking if one not in self.wanted]
            return
        try:
            kept = {name: self._kept(own, found.positions) for name, own in found.large.items()}
        except _FAULTS as error:
            self.set_aside.append(f"call {found.id}: {without_paths(error)[:200]}")
            return
        call = RecordedCall(found.id, found.at, {**found.inputs, **kept}, found.redacted)
        self._bytes += sum(map(_size, call.inputs.values()))
        self._rows += call.rows
        self.calls.append(call)

    def _kept(self, digests: Sequence[str | None], positions: Sequence[int]) -> list[Any]:
        """A large input's rows; each call has an object of its own."""
        arrays = {one: np.load(self.arrays[one], allow_pickle=False) for one in set(digests) if one}
        pairs = zip(digests, positions, strict=True)
        return [_plain(arrays[str(one)][position].tolist()) for one, position in pairs]


@dataclass(frozen=True, slots=True)
class _FoundCall:
    """A call in a file: its rows' `positions` in the request, its `large` inputs by digest."""

    id: str
    at: str
    positions: list[int]
    inputs: dict[str, list[Any]]
    large: dict[str, list[str | None]]
    redacted: frozenset[str]


def _calls_of(path: Path, inputs: InputTypes) -> Iterator[_FoundCall]:
    """The calls of a file, newest first; one of `_FAULTS` for what is no such file."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as opened:
        found = opened.metadata
        unpacked = sum(found.row_group(i).total_byte_size for i in range(found.num_row_groups))
        if unpacked > _MAX_UNPACKED:
            raise CorruptError(f"its rows take {unpacked} bytes, more than {_MAX_UNPACKED}")
        schema = opened.schema_arrow
        columns = {name: _columns_of(name, inputs[name][1], schema.names) for name in inputs}
        table = opened.read(columns=[_ID, _TIME, *chain.from_iterable(columns.values())])
    table = table.slice(max(0, table.num_rows - MAX_ROWS))
    values = {
        name: _values(table, own, inputs[name][1], whole=own == [INPUT + name])
        for name, own in columns.items()
        if own
    }
    large = {n for n in values if columns[n] == [INPUT + n] and len(inputs[n][1]) > 1}
    redacted = frozenset(redacted_of(schema))
    ids = [str(each).rpartition(".") for each in table[_ID].to_pylist()]
    times = table[_TIME].to_pylist()
    for call, rows in reversed(_grouped([call for call, _, _ in ids]).items()):
        taken = rows[:MAX_ROWS_OF_A_CALL]
        own = {name: [column[row] for row in taken] for name, column in values.items()}
        yield _FoundCall(
            id=call,
            at=str(_plain(times[rows[-1]])),
            positions=[int(ids[row][2]) for row in taken],
            inputs={name: column for name, column in own.items() if name not in large},
            large={name: column for name, column in own.items() if name in large},
            redacted=redacted,
        )


def _columns_of(name: str, shape: Sequence[int], names: Sequence[str]) -> list[str]:
    """The columns that an input was recorded in: a small tensor has one for each cell.

    A large one has one of digests, whose objects have the values.
    """
    known = set(names)
    if INPUT + name in known:
        return [INPUT + name]
    if len(shape) == 1:
        return []
    return list(takewhile(known.__contains__, (f"{INPUT}{name}_{i}" for i in count())))


def _values(table: Any, columns: Sequence[str], shape: Sequence[int], *, whole: bool) -> list[Any]:
    """An input by row, as JSON has it: one column as a `whole`, or cells in their shape."""
    cells = [[_plain(value) for value in table[name].to_pylist()] for name in columns]
    if whole:
        return cells[0]
    return [_shaped(list(row), shape[1:]) for row in zip(*cells, strict=True)]


def _shaped(cells: list[Any], shape: Sequence[int]) -> Any:
    """The cells, row-major, as nested lists; as they are where they do not fill the shape."""
    sizes = np.array(cells, dtype=object)
    open_sizes = sum(size < 0 for size in shape)
    if open_sizes > 1 or (not open_sizes and math.prod(shape) != len(cells)):
        return cells
    return sizes.reshape(shape).tolist()


def _grouped(calls: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each call, by the order in which the calls end."""
    rows: dict[str, list[int]] = {}
    for row, call in enumerate(calls):
        own = rows.pop(call, [])
        own.append(row)
        rows[call] = own
    return rows


def _plain(value: Any) -> Any:
    """What JSON has for a value: null for what is no number, a time as text."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value.isoformat() if isinstance(value, datetime) else value


def _size(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str) else 8


def main() -> int:
    answers = take_stdout()
    job = json.loads(sys.stdin.readline())
    write_answer(answers, {"opening": "the captured rows"})
    inputs = {name: (str(kind), list(shape)) for name, (kind, shape) in job["inputs"].items()}
    found = CapturedCalls(inputs, {one: Path(path) for one, path in job["arrays"].items()})
    found.read({digest: Path(path) for digest, path in job["files"].items()})
    calls = [{**asdict(call), "redacted": sorted(call.redacted)} for call in found.calls]
    content = {"calls": calls, "set_aside": found.set_aside}
    Path(job["result"]).write_text(json.dumps(content, default=str))
    write_answer(answers, {"wanted": found.wanted})
    return 0


if __name__ == "__main__":
    sys.exit(main())
