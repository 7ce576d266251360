"""Reads a holdout dataset in a process of its own: Parquet is foreign and its readers are native.

`python -m loopwright_deployer.staging.evaluation.holdout_reader` takes one line of JSON, `{"file":
PATH, "dataset": {...}, "later_than": TIME or null, "result": PATH}`, writes the rows to `result` as
JSON and answers `{"rows": COUNT}`, `{"unusable": "..."}` and why, or `{"error": "..."}`.
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from loopwright_common.errors import without_paths
from loopwright_common.events import Dataset
from loopwright_common.process.subprocesses import take_stdout, write_answer
from loopwright_deployer.staging.evaluation.holdout_rows import (
    MAX_ROWS,
    Holdout,
    UnusableHoldoutError,
)


def read_holdout(parquet: Path, dataset: Dataset, later_than: datetime | None) -> Holdout:
    """The newest rows, in time order, later than `later_than`.

    UnusableHoldoutError without a target.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(parquet)
    if dataset.target is None or dataset.target not in table.column_names:
        raise UnusableHoldoutError(f"the holdout dataset has no target column {dataset.target!r}")
    table = table.filter(pc.is_valid(table.column(dataset.target)))
    all_later = dataset.from_ is not None and later_than is not None and dataset.from_ > later_than
    if "time" in table.column_names:
        table = table.sort_by("time")
    if later_than is not None and not all_later:
        table = _later(table, later_than, pa, pc)
    newest = table.slice(max(0, table.num_rows - MAX_ROWS))
    columns = {name: newest.column(name).to_pylist() for name in newest.column_names}
    return Holdout(columns, dataset.target, table.num_rows)


def main() -> int:
    answers = take_stdout()
    job = json.loads(sys.stdin.readline())
    file = Path(job["file"])
    write_answer(answers, {"opening": f"{file.name} (Parquet)"})
    later_than = datetime.fromisoformat(job["later_than"]) if job["later_than"] else None
    try:
        holdout = read_holdout(file, Dataset.model_validate(job["dataset"]), later_than)
    except UnusableHoldoutError as error:
        write_answer(answers, {"unusable": str(error)})
        return 0
    except (OSError, ValueError) as error:  # Arrow's own are of these
        write_answer(
            answers,
            {"error": f"{file.name} is damaged, or no Parquet: {without_paths(error)[:200]}"},
        )
        return 1
    content = {"columns": holdout.columns, "target": holdout.target, "rows": holdout.rows}
    Path(job["result"]).write_text(json.dumps(content, default=_plain))
    write_answer(answers, {"rows": holdout.rows})
    return 0


def _later(table: Any, after: datetime, pa: Any, pc: Any) -> Any:
    """Rows whose time is known to be later than `after`."""
    if "time" not in table.column_names:
        return table.slice(0, 0)
    times = pc.cast(table.column("time"), pa.timestamp("us", tz="UTC"))
    later = pc.greater(times, pa.scalar(after, pa.timestamp("us", tz="UTC")))
    return table.filter(pc.fill_null(later, False))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


if __name__ == "__main__":
    sys.exit(main())
