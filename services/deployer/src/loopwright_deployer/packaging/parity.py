"""Does the compiled form answer as the native one does?"""

from typing import Any

import numpy as np

from loopwright_deployer.packaging.graph import output_names
from loopwright_deployer.packaging.native import Opened
from loopwright_deployer.packaging.rows import Rows, native_frame, onnx_feed

TOLERANCE = 1e-4


def agreement(opened: Opened, content: bytes, rows: Rows) -> tuple[bool, str]:
    """Whether labels are equal and figures within 1e-4 (float32), and a sentence with them."""
    if not len(rows):
        return False, "there is no example or training row to compare its ONNX form on"
    compiled = _compiled(opened, content, rows)
    inputs = _native_inputs(opened, rows)
    if opened.task == "regressor":
        return _regressor(opened.estimator.predict(inputs), compiled["prediction"], len(rows))
    return _classifier(opened, opened.estimator.predict_proba(inputs), compiled, len(rows))


def _classifier(
    opened: Opened, native: Any, compiled: dict[str, Any], count: int
) -> tuple[bool, str]:
    largest = float(np.abs(native - compiled["probabilities"]).max())
    chosen = np.array(opened.classes, dtype=object)[native.argmax(axis=1)]
    top = np.sort(native, axis=1)
    # Where two classes tie within the tolerance, either label is right.
    clear = top[:, -1] - top[:, -2] > 2 * TOLERANCE if native.shape[1] > 1 else np.full(count, True)
    labels = np.array(compiled["label"], dtype=object).reshape(-1)
    different = int(((labels != chosen) & clear).sum())
    sentence = (
        f"ONNX form: labels differ on {different} of {count} rows, "
        f"probabilities by at most {largest:.2g} (limit {TOLERANCE:g}, float32)"
    )
    return different == 0 and largest <= TOLERANCE, sentence


def _regressor(native: Any, compiled: Any, count: int) -> tuple[bool, str]:
    compiled = np.asarray(compiled, dtype=np.float64).reshape(np.shape(native))
    relative = np.abs(native - compiled) / np.maximum(np.abs(native), 1.0)
    largest = float(relative.max())
    sentence = (
        f"ONNX form: predictions differ by at most {largest:.2g} of their size "
        f"on {count} rows (limit {TOLERANCE:g}, float32)"
    )
    return largest <= TOLERANCE, sentence


def _native_inputs(opened: Opened, rows: Rows) -> Any:
    if opened.tensor is not None:
        return np.array(rows.values[opened.tensor.name], dtype=opened.tensor.dtype)
    return native_frame(rows, opened.columns or [])


def _compiled(opened: Opened, content: bytes, rows: Rows) -> dict[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    if opened.tensor is not None:
        name = opened.tensor.name
        feed: dict[str, Any] = {name: np.array(rows.values[name], dtype=np.float32)}
    else:
        types = {one.name: one.type for one in session.get_inputs()}
        feed = onnx_feed(rows, opened.columns or [], types)
    names = output_names(content, opened.task)
    answers = session.run(list(names.values()), feed)
    return dict(zip(names, answers, strict=True))
