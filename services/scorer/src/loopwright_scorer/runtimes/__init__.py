"""The engines that compute answers, one file each."""

import gc
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import ServingSpec
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.tensors.example_rows import example_of
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.signature import CompiledSignature
from loopwright_scorer.tensors.tensors import ModelOutputs, TensorType

_MODULES = {
    "onnx": "onnxruntime",
    "sklearn-skops": "skops.io",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
}


class ModelRuntime(Protocol):
    @property
    def outputs(self) -> Sequence[TensorType]: ...

    def predict(self, inputs: ModelInputs) -> ModelOutputs:
        """InvalidError when the model refuses these rows; any other error is the server's."""
        ...


def import_engine(name: str) -> None:
    """Import a format's engine, if that was not done before; ImportError where it is not there.

    Meanwhile no garbage is collected, and what it brings is never looked at for garbage again: a
    look at all of it holds every thread for a good part of a second.
    """
    module = _MODULES.get(name)
    if module is None or module in sys.modules:
        return
    gc.disable()
    try:
        importlib.import_module(module)
        gc.freeze()
    finally:
        gc.enable()


def open_runtime(
    directory: Path,
    spec: ServingSpec,
    plan: CompiledSignature,
    isolation: IsolationConfig | None = None,
) -> ModelRuntime:
    """Load the serving file; seconds of work, so never on the event loop."""
    if spec.isolated is not None:
        if isolation is None:
            raise InvalidError("this package needs a process of its own, which is not served here")
        from loopwright_scorer.isolated.runtime import IsolatedRuntime

        return IsolatedRuntime(directory, spec, example_of(spec, plan).arrays, isolation)
    if spec.format in ("xgboost", "lightgbm"):
        return _boosted(directory / spec.file, spec)
    import_engine(spec.format)
    if spec.format == "onnx":
        from loopwright_scorer.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(directory / spec.file, spec, plan)
    from loopwright_scorer.runtimes.skops import SkopsRuntime

    return SkopsRuntime(directory / spec.file, spec)


def _boosted(path: Path, spec: ServingSpec) -> ModelRuntime:
    """InvalidError when the library is not installed."""
    try:
        import_engine(spec.format)
        if spec.format == "xgboost":
            from loopwright_scorer.runtimes.xgboost import XgboostRuntime

            return XgboostRuntime(path, spec)
        from loopwright_scorer.runtimes.lightgbm import LightgbmRuntime

        return LightgbmRuntime(path, spec)
    except ImportError as error:
        raise InvalidError(
            f"this scorer cannot open {spec.format} ({error}): install"
            f" loopwright-scorer[{spec.format}]"
        ) from None
