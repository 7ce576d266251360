"""The base file as a table of what is known before a call, oldest call first."""

from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

# `duration` is known only after the call; day and month say nothing about next year.
LEFT_OUT = ["duration", "day", "month"]


def main() -> None:
    calls = csv.read_csv("data/base.csv.gz").drop_columns(LEFT_OUT)
    never_predicted = pa.nulls(calls.num_rows, pa.timestamp("us", tz="UTC"))
    Path("work").mkdir(exist_ok=True)
    parquet.write_table(calls.append_column("time", never_predicted), "work/base.parquet")


if __name__ == "__main__":
    main()
