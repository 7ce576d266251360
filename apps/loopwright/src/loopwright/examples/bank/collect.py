"""The newest labelled rows, base and captured, split by time into training and holdout."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pyarrow import parquet

CAPTURED = Path("data/captured/captured.parquet")


def captured_rows(schema: pa.Schema) -> pa.Table:
    """Captured rows whose outcome is known, oldest first, as the base file has them."""
    if not CAPTURED.exists():
        return schema.empty_table()
    table = parquet.read_table(CAPTURED)
    table = table.filter(pc.is_valid(table["label"])).sort_by("time")
    if table.num_rows == 0:
        return schema.empty_table()
    names = {"y": "label", "time": "time"}
    columns = [table[names.get(name, f"input.{name}")] for name in schema.names]
    return pa.table(columns, schema.names).cast(schema)


def main() -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())["collect"]
    base = parquet.read_table("work/base.parquet")
    rows = pa.concat_tables([base, captured_rows(base.schema)])
    newest = rows.slice(max(rows.num_rows - params["rows"], 0))
    holdout = round(newest.num_rows * params["holdout"])
    training = newest.num_rows - holdout
    parquet.write_table(newest.slice(0, training), "work/training.parquet")
    parquet.write_table(newest.slice(training), "work/holdout.parquet")
    print(f"{training} rows to learn from, {holdout} later ones to judge by")


if __name__ == "__main__":
    main()
