"""The formats of packages that are served, and what opens each.

A format is added here, in a module of its own beside this one, and to `ServingSpec.format`.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from loopwright_common.errors import InvalidError
from loopwright_common.model_files import check_model_file
from loopwright_common.serving.spec import IsolatedSpec
from loopwright_scorer.isolated.runtime import IsolatedRuntime
from loopwright_scorer.runtimes.base import ModelRuntime, ServingPackage
from loopwright_scorer.runtimes.confinement import Placement, place
from loopwright_scorer.runtimes.engines import import_quietly
from loopwright_scorer.runtimes.lightgbm import LightgbmRuntime
from loopwright_scorer.runtimes.onnx import OnnxRuntime
from loopwright_scorer.runtimes.skops import SkopsRuntime
from loopwright_scorer.runtimes.xgboost import XgboostRuntime
from loopwright_scorer.tensors.example_rows import example_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RuntimeFormat:
    """How packages of one format are opened."""

    open: Callable[[ServingPackage], ModelRuntime]
    platform: str
    """`<project>_<format>`, as V2's metadata calls it."""
    engine: str | None = None
    """The module of the library that computes, imported before a package is opened."""
    extra: str | None = None
    """The extra of loopwright-scorer that installs the library, where it may be missing."""
    is_native: bool = True
    """Whether it computes in the process that opens it."""


def open_runtime(package: ServingPackage) -> ModelRuntime:
    """Load the serving file; seconds of work, so never on the event loop.

    InvalidError where the file is damaged, the engine is not installed, or the package needs a
    process of its own and may not have one.
    """
    name = package.spec.format if package.spec.isolated is None else "isolated"
    known = RUNTIME_FORMATS[name]
    try:
        placement = place(package) if known.is_native else Placement()
        if placement.why_confined:
            return _open_confined(package, known, placement.why_confined)
        import_engine(name)
        return known.open(replace(package, largest_input=placement.largest_input))
    except ImportError as error:
        if known.extra is None:
            raise
        raise InvalidError(
            f"this scorer cannot open {name} ({error}): install loopwright-scorer[{known.extra}]"
        ) from None


def import_engine(name: str) -> None:
    """Import a format's engine, if that was not done before; ImportError where it is not there."""
    if module := RUNTIME_FORMATS[name].engine:
        import_quietly(module)


def _open_confined(package: ServingPackage, known: RuntimeFormat, why: str) -> ModelRuntime:
    """The format's own runtime, in a process of its own."""
    if package.isolation is None:
        raise InvalidError(f"this package needs a process of its own, which it has not here: {why}")
    if known.engine is not None and importlib.util.find_spec(known.engine.split(".")[0]) is None:
        raise ModuleNotFoundError(f"No module named {known.engine!r}")
    log.warning("package.confined", digest=package.digest, why=why)
    confined = IsolatedSpec(loader="runtime")
    spec = package.spec.model_copy(update={"isolated": confined})
    return _open_isolated(replace(package, spec=spec))


def _checked_file(package: ServingPackage) -> Path:
    """The serving file, once a native reader may have it: packaging need not have been ours."""
    check_model_file(package.file, package.spec.format)
    return package.file


def _open_onnx(package: ServingPackage) -> ModelRuntime:
    file = _checked_file(package)
    return OnnxRuntime(file, package.spec, package.signature, package.largest_input)


def _open_skops(package: ServingPackage) -> ModelRuntime:
    return SkopsRuntime(_checked_file(package), package.spec)


def _open_xgboost(package: ServingPackage) -> ModelRuntime:
    return XgboostRuntime(_checked_file(package), package.spec)


def _open_lightgbm(package: ServingPackage) -> ModelRuntime:
    return LightgbmRuntime(_checked_file(package), package.spec)


def _open_isolated(package: ServingPackage) -> ModelRuntime:
    if package.spec.isolated is None:
        raise InvalidError("loopwright.json: isolated: say how the package is opened")
    if package.isolation is None:
        raise InvalidError("this package needs a process of its own, which is not served here")
    example = example_of(package.spec, package.signature).arrays
    return IsolatedRuntime(package.directory, package.spec, example, package.isolation)


RUNTIME_FORMATS = {
    "onnx": RuntimeFormat(_open_onnx, "onnx_onnxv1", "onnxruntime"),
    "sklearn-skops": RuntimeFormat(_open_skops, "sklearn_skops", "skops.io"),
    "xgboost": RuntimeFormat(_open_xgboost, "xgboost_ubj", "xgboost", extra="xgboost"),
    "lightgbm": RuntimeFormat(_open_lightgbm, "lightgbm_text", "lightgbm", extra="lightgbm"),
    "isolated": RuntimeFormat(_open_isolated, "own_process", is_native=False),
}
