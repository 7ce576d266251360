"""Does the compiled form answer as the native one does?"""

from typing import Any

import numpy as np

from loopwright_common.serving.spec import Classes
from loopwright_common.wording import counted
from loopwright_deployer.packaging.onnx.graph import LABEL, PREDICTION, PROBABILITIES, CompiledGraph
from loopwright_deployer.packaging.sources.native_model import ModelOutputs
from loopwright_deployer.packaging.sources.sample_rows import SampleRows, onnx_feed

TOLERANCE = 1e-4


def compare_forms(
    native: ModelOutputs,
    classes: Classes | list[Classes] | None,
    compiled: CompiledGraph,
    rows: SampleRows,
) -> tuple[bool, str]:
    """Whether labels are equal and figures within 1e-4 (float32), and a sentence with them.

    Probabilities may differ by so much, predictions by so much of their size where that is above 1.
    It raises what `run_graph` raises.
    """
    answers = run_graph(compiled, rows)
    if PREDICTION in native:
        return _regressor(native[PREDICTION], answers[PREDICTION], len(rows))
    if PROBABILITIES not in native:
        return _labels(native[LABEL], answers[LABEL], len(rows))
    return _classifier(native[PROBABILITIES], classes, answers, len(rows))


def run_graph(compiled: CompiledGraph, rows: SampleRows) -> ModelOutputs:
    """What the runtime makes of the rows; raises whatever it raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        compiled.content, options, providers=["CPUExecutionProvider"]
    )
    types = {one.name: one.type for one in session.get_inputs()}
    feed = onnx_feed(rows, types, compiled.matrices)
    answers = session.run(list(compiled.output_names.values()), feed)
    return dict(zip(compiled.output_names, answers, strict=True))


def _classifier(native: Any, classes: Any, compiled: ModelOutputs, count: int) -> tuple[bool, str]:
    largest = float(np.abs(native - compiled[PROBABILITIES]).max())
    chosen = np.array(classes, dtype=object)[native.argmax(axis=1)]
    top = np.sort(native, axis=1)
    # Where two classes tie within the tolerance, either label is right.
    clear = top[:, -1] - top[:, -2] > 2 * TOLERANCE if native.shape[1] > 1 else np.full(count, True)
    labels = np.array(compiled[LABEL], dtype=object).reshape(-1)
    different = int(((labels != chosen) & clear).sum())
    sentence = (
        f"ONNX form: labels differ on {different} of {counted(count, 'row')}, "
        f"probabilities by at most {largest:.2g} (limit {TOLERANCE:g}, float32)"
    )
    return different == 0 and largest <= TOLERANCE, sentence


def _labels(native: Any, compiled: Any, count: int) -> tuple[bool, str]:
    labels = np.asarray(compiled, dtype=object).reshape(np.shape(native))
    different = int((labels != native).reshape(count, -1).any(axis=1).sum())
    return different == 0, f"ONNX form: labels differ on {different} of {counted(count, 'row')}"


def _regressor(native: Any, compiled: Any, count: int) -> tuple[bool, str]:
    compiled = np.asarray(compiled, dtype=np.float64).reshape(np.shape(native))
    relative = np.abs(native - compiled) / np.maximum(np.abs(native), 1.0)
    largest = float(relative.max())
    sentence = (
        f"ONNX form: predictions differ by at most {largest:.2g} of their size "
        f"on {counted(count, 'row')} (limit {TOLERANCE:g}, float32)"
    )
    return largest <= TOLERANCE, sentence
