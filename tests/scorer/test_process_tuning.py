"""What a scorer's process does not take into memory."""

import subprocess
import sys

SPARED = """
import sys
from loopwright_scorer.process_tuning import hide_pandas_from_pyarrow
hide_pandas_from_pyarrow()
import pyarrow as pa
from loopwright_common.cloudevents.inference_logged import ENVELOPE
ENVELOPE.empty_table()
pa.array(["a", None])
assert "pandas" not in sys.modules
import pandas
assert len(pandas.DataFrame({"a": [1]})) == 1
heavy = {"sklearn", "mlflow", "xgboost", "lightgbm", "alembic", "river"} & set(sys.modules)
assert not heavy, heavy
"""


def test_libraries_are_taken_in_only_by_what_needs_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPARED], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
