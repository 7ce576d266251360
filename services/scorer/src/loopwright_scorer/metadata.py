"""Model metadata as V2 clients read it."""

from collections.abc import Sequence

from loopwright_scorer.routes import Route, ServedArm
from loopwright_scorer.tensors import TensorType

_PLATFORMS = {"onnx": "onnx_onnxv1", "sklearn-skops": "sklearn_skops"}


def describe(route: Route, arm: ServedArm) -> dict[str, object]:
    """Inputs and outputs of a version, and what the protocol has no field for as parameters."""
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
    return {
        "name": route.model,
        "versions": [str(version) for version in sorted(route.versions)],
        "platform": _PLATFORMS[spec.format],
        "inputs": _tensors(arm.model.plan.inputs),
        "outputs": _tensors(arm.model.runtime.outputs),
        "parameters": parameters,
    }


def _tensors(tensors: Sequence[TensorType]) -> list[dict[str, object]]:
    return [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in tensors]
