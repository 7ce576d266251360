"""Builds a serving package: ONNX where it converts and agrees with the native form, else skops."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_common.serving import SPEC_FILE, ServingSpec
from loopwright_deployer.packaging import convert, graph, native
from loopwright_deployer.packaging.parity import agreement
from loopwright_deployer.packaging.rows import Rows, sample
from loopwright_deployer.packaging.source import Source, read_source

ONNX_FILE = "model.onnx"
SKOPS_FILE = "model.skops"


@dataclass(frozen=True, slots=True)
class Job:
    """`source` holds the registered package with `digest`; `rows` is Parquet to compare on."""

    source: Path
    target: Path
    digest: str
    rows: Path | None = None


def build(job: Job) -> ServingSpec:
    """Write the serving package into `target`; InvalidError says why it cannot be served."""
    source = read_source(job.source)
    job.target.mkdir(parents=True, exist_ok=True)
    spec = _from_onnx(job, source) if source.flavor == "onnx" else _from_skops(job, source)
    (job.target / SPEC_FILE).write_text(spec.model_dump_json(exclude_none=True))
    return spec


def _from_onnx(job: Job, source: Source) -> ServingSpec:
    content = source.file.read_bytes()
    served = graph.describe(content, source)
    (job.target / ONNX_FILE).write_bytes(served.content)
    return ServingSpec(
        format="onnx",
        file=ONNX_FILE,
        task=served.task,
        classes=served.classes,
        columns=served.columns,
        tensor=served.tensor,
        output_names=served.output_names,
        source_digest=job.digest,
        example=source.example,
    )


def _from_skops(job: Job, source: Source) -> ServingSpec:
    opened = native.open_skops(source)
    rows = sample(job.rows, opened.columns, opened.tensor, source.example)
    content, why = _compiled(opened, rows)
    common: dict[str, Any] = {
        "task": opened.task,
        "classes": opened.classes,
        "columns": opened.columns,
        "tensor": opened.tensor,
        "source_digest": job.digest,
        "example": source.example,
        "parity": why,
    }
    if content is not None:
        (job.target / ONNX_FILE).write_bytes(content)
        names = graph.output_names(content, opened.task)
        return ServingSpec(format="onnx", file=ONNX_FILE, output_names=names, **common)
    if opened.compiled_only:
        kinds = ", ".join(opened.compiled_only)
        raise InvalidError(f"{kinds} is served as ONNX only, and: {why}")
    (job.target / SKOPS_FILE).write_bytes(source.file.read_bytes())
    return ServingSpec(
        format="sklearn-skops", file=SKOPS_FILE, trusted=list(opened.trusted), **common
    )


def _compiled(opened: native.Opened, rows: Rows) -> tuple[bytes | None, str]:
    """The ONNX form, or None and why it stays native."""
    try:
        content = convert.to_onnx(opened)
    except Exception as error:  # noqa: BLE001  (converters raise anything)
        return None, f"stays native: it does not convert to ONNX ({_first_line(error)})"
    try:
        agrees, sentence = agreement(opened, content, rows)
    except Exception as error:  # noqa: BLE001  (whatever the foreign graph makes the runtime raise)
        return None, f"stays native: its ONNX form does not run ({_first_line(error)})"
    return (content, sentence) if agrees else (None, f"stays native: {sentence}")


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
