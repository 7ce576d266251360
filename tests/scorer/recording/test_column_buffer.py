"""Calls in columns, whatever their answers are made of."""

import numpy as np
import pytest

from loopwright_scorer.models.loaded_model import ModelResult
from loopwright_scorer.recording.column_buffer import ColumnBuffers, tables
from loopwright_scorer.recording.records import CallRecord
from loopwright_scorer.routing.record_policy import RecordedArm
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.tensors import ModelOutputs, TensorType


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("rows", [1, 100])
def test_answers_and_inputs_that_change_their_type_are_logged_as_they_are(
    together: int, rows: int
) -> None:
    """A function may answer whole numbers, and numbers later."""
    like = TensorType("prediction", "FP64", (-1,)), TensorType("age", "FP64", (-1,))
    kind = RecordedArm("m-1", "bank", 1, "live", like[1:], like[:1])
    calls = [
        CallRecord(
            kind,
            f"p{time}",
            None,
            time,
            ModelResult(
                ModelInputs(rows, {"age": np.full(rows, answer)}),
                ModelOutputs(prediction=np.full(rows, answer)),
            ),
            100,
        )
        for time, answer in enumerate([3, 0.5, 4])
    ]
    buffers = ColumnBuffers()
    for at in range(0, len(calls), together):
        assert buffers.append(calls[at : at + together]) == []

    (found,) = tables(buffers.drain(), {})
    for column in ("input.age", "output.score"):
        assert found.table.column(column).to_pylist() == [3] * rows + [0.5] * rows + [4] * rows
