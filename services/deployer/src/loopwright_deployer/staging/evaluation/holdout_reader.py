"""Reads a holdout dataset in a process of its own: Parquet is foreign and its readers are native.

`python -m loopwright_deployer.staging.evaluation.holdout_reader` takes one line of JSON, `{"file":
PATH, "dataset": {...}, "trainings": [{"version": N, "dataset": {...}, "inputs": [...], "file": PATH
or null, "why": "..."}], "by_time": BOOL, "result": PATH}`, writes the rows to `result` as JSON and
answers `{"rows": COUNT}`, `{"unusable": "..."}` and why, or `{"error": "..."}`.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from loopwright_common.errors import InvalidError, without_paths
from loopwright_common.events import Dataset
from loopwright_common.process.subprocesses import take_stdout, write_answer
from loopwright_deployer.staging.evaluation.holdout_rows import (
    MAX_ROWS,
    Holdout,
    Training,
    UnusableHoldoutError,
)
from loopwright_deployer.staging.evaluation.row_digests import rows_found_in

MOST_REPEATED = 0.01
"""Of a training's own rows; where more repeat others, a row alike says little."""
_REPEATS = (
    "{:.0%} of its training rows hold what another one holds, so that a row alike says nothing;"
    " give the rows of both files a number of their own (`id`)"
)
_MOST_BYTES = 80_000_000
"""Of the rows as Arrow has them; numbers take two or three times that as text."""
_FAULTS = (OSError, ValueError, LookupError, TypeError, NotImplementedError, OverflowError)
"""Of a file that is damaged or odd; Arrow's own are of these."""


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """Where the rows of a training lie, else why they are not here."""

    training: Training
    file: Path | None
    why: str = ""


def read_holdout(
    parquet: Path,
    dataset: Dataset,
    trainings: Sequence[TrainingFile] = (),
    *,
    by_time: bool = False,
    opening: Callable[[str], None] = lambda _: None,
) -> Holdout:
    """The newest labelled rows, in time order, that are in none of the trainings.

    `by_time` they have to be later too than each training that has times, or whose rows are not
    known; `opening` is told what is read next. UnusableHoldoutError without a target.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(parquet)
    if dataset.target is None or dataset.target not in table.column_names:
        raise UnusableHoldoutError(f"the holdout dataset has no target column {dataset.target!r}")
    table = table.filter(pc.is_valid(table.column(dataset.target)))
    if _is_dated(table):
        table = table.sort_by("time")
    found, untold = _looked_up(table, dataset.target, trainings, opening)
    fair, later_than = np.ones(table.num_rows, dtype=np.bool_), None
    if by_time:
        fair, later_than = _late_enough(table, dataset, [one.training for one in trainings], untold)
    learned = {number: int((fair & rows).sum()) for number, rows in found.items()}
    for rows in found.values():
        fair = fair & ~rows
    table = table.filter(pa.array(fair))
    newest = table.slice(max(0, table.num_rows - _most_rows(table)))
    columns = {name: newest.column(name).to_pylist() for name in newest.column_names}
    return Holdout(columns, dataset.target, table.num_rows, later_than, learned, untold)


def main() -> int:
    answers = take_stdout()
    job = json.loads(sys.stdin.readline())
    file = Path(job["file"])

    def opening(name: str) -> None:
        write_answer(answers, {"opening": name})

    opening(f"{file.name} (Parquet)")
    trainings = [_training_file(one) for one in job["trainings"]]
    dataset = Dataset.model_validate(job["dataset"])
    try:
        holdout = read_holdout(file, dataset, trainings, by_time=job["by_time"], opening=opening)
    except UnusableHoldoutError as error:
        write_answer(answers, {"unusable": str(error)})
        return 0
    except _FAULTS as error:
        write_answer(
            answers,
            {"error": f"{file.name} is damaged, or no Parquet: {without_paths(error)[:200]}"},
        )
        return 1
    content = {each.name: getattr(holdout, each.name) for each in fields(holdout)}
    Path(job["result"]).write_text(json.dumps(content, default=_plain))
    write_answer(answers, {"rows": holdout.rows})
    return 0


def _training_file(given: dict[str, Any]) -> TrainingFile:
    dataset = Dataset.model_validate(given["dataset"])
    training = Training(int(given["version"]), dataset, tuple(given["inputs"]))
    return TrainingFile(training, Path(given["file"]) if given["file"] else None, given["why"])


def _looked_up(
    table: Any,
    target: str,
    trainings: Sequence[TrainingFile],
    opening: Callable[[str], None],
) -> tuple[dict[int, Any], dict[int, str]]:
    """By version, which of the rows it was trained on, or why that is not known."""
    found, untold = {}, {}
    for one in trainings:
        version = one.training.version
        if one.file is None:
            untold[version] = one.why
            continue
        opening(f"{one.file.name} (Parquet, training of version {version})")
        try:
            needed = _needed(table.column_names, target, one.training.inputs)
            alike = rows_found_in(table, one.file, needed)
            if alike.repeated > MOST_REPEATED:
                untold[version] = _REPEATS.format(alike.repeated)
            else:
                found[version] = alike.rows
        except InvalidError as error:
            untold[version] = f"its training dataset {error}"
        except _FAULTS as error:
            untold[version] = f"its training dataset cannot be read: {without_paths(error)[:200]}"
    return found, untold


def _needed(names: Sequence[str], target: str, inputs: Sequence[str]) -> list[str]:
    """The columns without which a row of the training is not known; cells of a tensor are many."""
    taken = [name for name in inputs if name in names]
    return [target, *(taken or [name for name in names if name not in (target, "time")])]


def _late_enough(
    table: Any, dataset: Dataset, trainings: Sequence[Training], untold: dict[int, str]
) -> tuple[Any, datetime | None]:
    """Which rows are late enough, and later than what they had to be."""
    dated = _is_dated(table)
    asked = [
        one.dataset.until
        for one in trainings
        if one.version in untold or (dated and one.dataset.from_ is not None)
    ]
    ends = [end for end in asked if end is not None]
    if not asked:
        return np.ones(table.num_rows, dtype=np.bool_), None
    if len(ends) < len(asked):
        return np.zeros(table.num_rows, dtype=np.bool_), None
    return _later(table, dataset, max(ends)), max(ends)


def _later(table: Any, dataset: Dataset, after: datetime) -> Any:
    """Whether the time of each row is known to be later than `after`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if dataset.from_ is not None and dataset.from_ > after:
        return np.ones(table.num_rows, dtype=np.bool_)
    if not _is_dated(table):
        return np.zeros(table.num_rows, dtype=np.bool_)
    times = pc.cast(table.column("time"), pa.timestamp("us", tz="UTC"), safe=False)
    later = pc.greater(times, pa.scalar(after, pa.timestamp("us", tz="UTC")))
    return pc.fill_null(later, False).to_numpy()


def _is_dated(table: Any) -> bool:
    """Whether its rows have times; a column `time` may be something else, such as `Dinner`."""
    import pyarrow as pa

    return "time" in table.column_names and pa.types.is_timestamp(table.schema.field("time").type)


def _most_rows(table: Any) -> int:
    """As many as are read, of rows of many values fewer: written as text they take more."""
    rows, size = int(table.num_rows), int(table.nbytes)
    return min(MAX_ROWS, max(_MOST_BYTES * rows // max(size, 1), 1))


def _plain(value: Any) -> str | float:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


if __name__ == "__main__":
    sys.exit(main())
