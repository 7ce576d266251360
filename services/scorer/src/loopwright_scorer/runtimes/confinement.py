"""Which packages may compute in the scorer's process, where others wait for them."""

import math
from dataclasses import dataclass

from loopwright_common.errors import InvalidError
from loopwright_common.model_files.graph import UnboundedGraphError, bounds_of, external_tensors
from loopwright_scorer.runtimes.base import ServingPackage
from loopwright_scorer.runtimes.engines import import_quietly

_MOST_ELEMENTS = 1 << 28
"""Of all values of a graph during one call, about 1 GiB."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a package computes: in a process of its own because of `why_confined`, or in this."""

    why_confined: str | None = None
    largest_input: float = math.inf


def place(package: ServingPackage) -> Placement:
    """InvalidError where it is an ONNX file that is not whole."""
    isolation = package.isolation
    if isolation and (why := isolation.quarantine_reason(package.digest)):
        return Placement(why)
    if package.spec.format == "onnx":
        return _place_graph(package)
    if isolation and isolation.shares_process:
        return Placement(f"what {package.spec.format} computes follows from no graph")
    return Placement()


def _place_graph(package: ServingPackage) -> Placement:
    import_quietly("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(package.file.read_bytes())
    except DecodeError:
        return Placement()  # whoever opens it says what is wrong with it
    if outside := next(external_tensors(model), None):
        raise InvalidError(
            f"ONNX tensor {outside.name!r} is kept in another file; register the model anew"
        )
    try:
        bounds = bounds_of(model)
    except UnboundedGraphError as error:
        return Placement(str(error))
    return Placement(largest_input=_MOST_ELEMENTS / max(bounds.per_input, 1))
