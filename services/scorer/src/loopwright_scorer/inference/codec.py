"""A call and its answer in neutral words: a protocol knows bytes, the core knows tensors."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from loopwright_scorer.routing.routes import Route, ServedArm
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.tensors import InferenceRequest, ModelOutputs

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


@dataclass(slots=True)
class InferenceCall:
    """Whom a protocol was asked for; without version and alias the route chooses the arm."""

    model: str
    size: int
    """Bytes of the body, as it is unpacked."""
    version: int | None = None
    alias: str | None = None
    routing_key: str | None = None
    request_id: str | None = None


@dataclass(slots=True)
class InferenceResult:
    """What a version answered, for the protocol to write."""

    route: Route
    arm: ServedArm
    request: InferenceRequest
    inputs: ModelInputs
    outputs: ModelOutputs


class InferenceCodec(Protocol[R_co]):
    """One request in one protocol. Both steps may run in a thread, one after the other."""

    def read(self) -> InferenceRequest:
        """InvalidError names what is wrong, UnsupportedError what is not served."""
        ...

    def write(self, answered: InferenceResult) -> R_co:
        """The answer in the protocol's own form; InvalidError for outputs that are not there."""
        ...


@dataclass(slots=True)
class InferenceResponse(Generic[R]):
    """A written answer, under the id by which labels find it, and the version it is of."""

    content: R
    prediction_id: str
    version: int
