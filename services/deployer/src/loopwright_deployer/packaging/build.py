"""Builds a serving package: ONNX where it converts and agrees with the native form, else that."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError, LoopwrightError, without_paths
from loopwright_common.serving.spec import SPEC_FILE, Classes, ServingSpec
from loopwright_deployer.packaging import isolated
from loopwright_deployer.packaging.formats import lightgbm, skops, xgboost
from loopwright_deployer.packaging.onnx import graph
from loopwright_deployer.packaging.onnx.graph import CompiledGraph
from loopwright_deployer.packaging.onnx.parity import compare_forms
from loopwright_deployer.packaging.sources.mlmodel import PackageSource, read_source
from loopwright_deployer.packaging.sources.native_model import ModelOutputs, NativeForm, NativeModel
from loopwright_deployer.packaging.sources.sample_rows import (
    SampleRows,
    placeholder_row,
    sample_rows,
)

ONNX_FILE = "model.onnx"
_NAMES = {"sklearn": "skops", "xgboost": "XGBoost", "lightgbm": "LightGBM", "onnx": "ONNX"}
OPENERS: dict[str, Callable[[PackageSource], NativeModel]] = {
    "sklearn": skops.open_skops,
    "xgboost": xgboost.open_xgboost,
    "lightgbm": lightgbm.open_lightgbm,
}


@dataclass(frozen=True, slots=True)
class PackagingJob:
    """`source` holds the registered package with `digest`; `rows` is Parquet to compare on."""

    source: Path
    target: Path
    digest: str
    rows: Path | None = None
    grant: isolated.Grant = isolated.NO_GRANT
    opening: Callable[[str], None] = lambda _file: None
    """Told what is about to be opened, since that may end the process."""


def build_package(job: PackagingJob) -> ServingSpec:
    """Write the serving package into `target`; InvalidError says why it cannot be served.

    What is served from a process of its own is a draft still, which says neither task nor classes.
    """
    source = read_source(job.source)
    job.opening(f"{source.file.name} ({_NAMES.get(source.flavor, source.flavor)})")
    job.target.mkdir(parents=True, exist_ok=True)
    if source.loader is not None:
        spec = isolated.draft_isolated(source, job.target, job.digest, job.grant)
    else:
        spec = _from_onnx(job, source) if source.flavor == "onnx" else _from_library(job, source)
    (job.target / SPEC_FILE).write_text(spec.model_dump_json(exclude_none=True))
    return spec


def _from_onnx(job: PackagingJob, source: PackageSource) -> ServingSpec:
    served = graph.describe_graph(source)
    (job.target / ONNX_FILE).write_bytes(served.content)
    return ServingSpec(
        format="onnx",
        file=ONNX_FILE,
        task=served.task,
        targets=served.targets,
        classes=served.classes,
        columns=served.columns,
        tensor=served.tensor,
        matrices=served.matrices,
        output_names=served.output_names,
        source_digest=job.digest,
        example=source.example,
        parity=served.placement,
    )


def _from_library(job: PackagingJob, source: PackageSource) -> ServingSpec:
    """A package of the scorer's own process, unless that may lack modules of the model."""
    try:
        return _from_native(job, source)
    except skops.ForeignTypesError as foreign:
        elsewhere = replace(source, loader="skops", trusted=foreign.types)
        return isolated.draft_isolated(elsewhere, job.target, job.digest, job.grant)


def _from_native(job: PackagingJob, source: PackageSource) -> ServingSpec:
    opened = _open(source)
    rows = sample_rows(job.rows, opened.columns, opened.tensor, source.example)
    answers = _native_outputs(opened, rows)
    targets = _targets(answers)
    compiled, why = _compile(opened, answers, rows)
    kept = _onnx_form(compiled) if compiled else _native_form(opened, why)
    (job.target / kept.spec["file"]).write_bytes(kept.content)
    return ServingSpec(
        task=opened.task,
        targets=targets,
        classes=_classes(opened, targets),
        columns=opened.columns,
        tensor=opened.tensor,
        predicts=opened.predicts,
        source_digest=job.digest,
        example=source.example,
        parity=why,
        **kept.spec,
    )


def _open(source: PackageSource) -> NativeModel:
    try:
        return OPENERS[source.flavor](source)
    except LoopwrightError:
        raise
    except Exception as error:
        raise InvalidError(f"{source.file.name} does not open: {_first_line(error)}") from error


def _native_outputs(opened: NativeModel, rows: SampleRows) -> ModelOutputs:
    """The model's own, to compare with; of a made-up row where there are no others."""
    try:
        return opened.infer(rows if len(rows) else placeholder_row(opened.columns, opened.tensor))
    except Exception as error:
        if not len(rows):
            return {}  # it refuses what we made up
        raise InvalidError(
            f"the model does not answer its own example: {_first_line(error)}"
        ) from error


def _targets(answers: ModelOutputs) -> int:
    """Labels or predictions per row."""
    first = next(iter(answers.values()), None)
    return 1 if first is None or first.ndim < 2 else int(first.shape[1])


def _classes(opened: NativeModel, targets: int) -> Classes | list[Classes] | None:
    """One list per label; a model of several yes-or-no labels names but one for all."""
    if targets == 1 or opened.classes is None or isinstance(opened.classes[0], list):
        return opened.classes
    yes_or_no: Classes = [0, 1]
    return [yes_or_no] * targets


def _compile(
    opened: NativeModel, answers: ModelOutputs, rows: SampleRows
) -> tuple[CompiledGraph | None, str]:
    """The ONNX form, or None and why the model stays native."""
    if not len(rows):
        return None, "stays native: there is no example or training row to compare its ONNX form on"
    why = "stays native: its categories are the library's own"
    for convert in opened.conversions:
        try:
            compiled = graph.compile_graph(convert(), answers.keys())
        except Exception as error:  # noqa: BLE001  (converters raise anything)
            why = f"stays native: it does not convert to ONNX ({_first_line(error)})"
            continue
        try:
            agrees, sentence = compare_forms(answers, opened.classes, compiled, rows)
        except Exception as error:  # noqa: BLE001  (whatever the foreign graph makes the runtime raise)
            why = f"stays native: its ONNX form does not run ({_first_line(error)})"
            continue
        if agrees:
            return compiled, "; ".join(filter(None, (sentence, compiled.placement)))
        why = f"stays native: {sentence}"
    return None, why


def _onnx_form(compiled: CompiledGraph) -> NativeForm:
    spec: dict[str, Any] = {
        "format": "onnx",
        "file": ONNX_FILE,
        "matrices": compiled.matrices,
        "output_names": compiled.output_names,
    }
    return NativeForm(compiled.content, spec)


def _native_form(opened: NativeModel, why: str) -> NativeForm:
    try:
        return opened.native_form()
    except InvalidError as error:
        raise InvalidError(f"{error}, and: {why}") from None


def _first_line(error: Exception) -> str:
    text = without_paths(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
