"""Metadata, configuration and statistics of models as V2 clients read them."""

from collections.abc import Iterable, Sequence
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_scorer.inference.call_recorder import CallStats, VersionStats
from loopwright_scorer.routing.routes import Route, ServedArm
from loopwright_scorer.runtimes.registry import RUNTIME_FORMATS
from loopwright_scorer.tensors.signature import ColumnSignature
from loopwright_scorer.tensors.tensors import TensorType


def describe(route: Route, arm: ServedArm, *, matrix: bool = False) -> dict[str, object]:
    """Inputs and outputs of a version, and what the protocol has no field for as parameters.

    With `matrix` the inputs are one tensor [-1, columns], in the order of the signature;
    InvalidError where its columns are of several types.
    """
    spec = arm.model.spec
    parameters: dict[str, object] = {
        "version": str(arm.version),
        "task": spec.task,
        "digest": arm.model.digest,
        "source_digest": spec.source_digest,
        "revision": route.revision,
    }
    if spec.classes is not None:
        parameters["classes"] = spec.classes
    if spec.parity is not None:
        parameters["parity"] = spec.parity
    if arm.model.sandbox is not None:
        parameters["sandbox"] = arm.model.sandbox
    return {
        "name": route.model,
        "versions": [str(version) for version in sorted(route.versions)],
        "platform": platform(arm),
        "inputs": _tensors([_matrix(arm)] if matrix else arm.model.signature.inputs),
        "outputs": _tensors(arm.model.outputs),
        "parameters": parameters,
    }


def platform(arm: ServedArm) -> str:
    """`<project>_<format>`, as the protocol asks."""
    return RUNTIME_FORMATS[arm.model.spec.format].platform


def configuration(route: Route, arm: ServedArm) -> dict[str, object]:
    """Triton's model configuration, as far as it has a meaning here; shapes have their rows."""
    return {
        "name": route.model,
        "platform": platform(arm),
        "backend": platform(arm).partition("_")[0],
        "max_batch_size": 0,
        "input": _configured(arm.model.signature.inputs),
        "output": _configured(arm.model.outputs),
        "version_policy": {"specific": {"versions": sorted(route.versions)}},
    }


def statistics(
    routes: Iterable[Route], stats: CallStats, version: int | None = None
) -> dict[str, object]:
    """Counts and nanoseconds since a version was loaded; of one version where it is given."""
    return {
        "model_stats": [
            _counted(route.model, each, stats.requested(route.model, each))
            for route in routes
            for each in sorted(route.versions)
            if version in (None, each)
        ]
    }


def _counted(model: str, version: int, totals: VersionStats) -> dict[str, object]:
    answered = totals.calls - totals.errors
    return {
        "name": model,
        "version": str(version),
        "last_inference": int(totals.last * 1000),
        "inference_count": totals.rows,
        "execution_count": totals.calls,
        "inference_stats": {
            "success": _sum(answered, totals.answered_ns),
            "fail": _sum(totals.errors, totals.failed_ns),
            "queue": _sum(answered, totals.queued_ns),
            "compute_input": _sum(answered, totals.read_ns),
            "compute_infer": _sum(answered, totals.computed_ns),
            "compute_output": _sum(answered, totals.written_ns),
            "cache_hit": _sum(0, 0),
            "cache_miss": _sum(0, 0),
        },
        "batch_stats": [],
    }


def _sum(count: int, nanoseconds: int) -> dict[str, int]:
    return {"count": count, "ns": nanoseconds}


def _matrix(arm: ServedArm) -> TensorType:
    signature = arm.model.signature
    if not isinstance(signature, ColumnSignature):
        return signature.inputs[0]
    if signature.matrix is None:
        raise InvalidError("inputs=matrix: the columns of this model are of several types")
    return signature.matrix


def _tensors(tensors: Sequence[TensorType]) -> list[dict[str, Any]]:
    return [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in tensors]


def _configured(tensors: Sequence[TensorType]) -> list[dict[str, Any]]:
    return [
        {"name": t.name, "data_type": f"TYPE_{_type_name(t.datatype)}", "dims": list(t.shape)}
        for t in tensors
    ]


def _type_name(datatype: str) -> str:
    return "STRING" if datatype == "BYTES" else datatype
