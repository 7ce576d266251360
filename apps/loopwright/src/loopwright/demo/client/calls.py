"""The bank's calls in time order, and how they look as Open Inference Protocol requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BASE_ROWS = 9_000
"""Rows that the example repository starts from; the demo sends those after them."""
_LEFT_OUT = ["duration", "day", "month"]
_SHIPPED = Path(__file__).parents[1] / "data" / "bank-marketing.csv.gz"
Values = Sequence[str] | Sequence[int]


@dataclass(frozen=True, slots=True)
class Calls:
    """Columns of what is known before each call, and how each one ended."""

    columns: Mapping[str, Values]
    outcomes: Sequence[str]

    def __len__(self) -> int:
        return len(self.outcomes)

    def request(self, start: int, stop: int) -> dict[str, list[dict[str, object]]]:
        """The rows `start` to `stop` as a V2 inference request."""
        inputs = [_input(name, values[start:stop]) for name, values in self.columns.items()]
        return {"inputs": inputs}


def load(rows: int | None = None) -> Calls:
    """The calls after the base rows; the first `rows` of them if given."""
    from pyarrow import csv

    table = csv.read_csv(_SHIPPED).slice(BASE_ROWS, rows).drop_columns(_LEFT_OUT)
    columns = table.to_pydict()
    return Calls(outcomes=columns.pop("y"), columns=columns)


def _input(name: str, values: Values) -> dict[str, object]:
    datatype = "INT64" if isinstance(values[0], int) else "BYTES"
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": values}
