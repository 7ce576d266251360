"""Open Inference Protocol V2 over gRPC: an inference request and its answer.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

from collections.abc import Mapping
from typing import Any

from loopwright_common.errors import InvalidError
from loopwright_scorer.inference.codec import InferenceResult
from loopwright_scorer.protocols import raw_tensors
from loopwright_scorer.protocols.messages.inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from loopwright_scorer.protocols.v2.rules import (
    check_count,
    check_extensions,
    check_tensor,
    filled,
    timeout_in,
)
from loopwright_scorer.tensors.tensors import GivenTensor, InferenceRequest

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_Input = ModelInferRequest.InferInputTensor


class GrpcCodec:
    """One ModelInfer; `timeout` is what is left of the call's deadline, in seconds."""

    def __init__(self, message: ModelInferRequest, timeout: float | None) -> None:
        self._message = message
        self._timeout = timeout

    def read(self) -> InferenceRequest:
        message = self._message
        if not message.inputs:
            raise InvalidError("inputs: give at least one")
        check_count(len(message.inputs))
        inputs = self._inputs()
        if len(inputs) < len(message.inputs):
            raise InvalidError("inputs: a name is given twice; name each input once")
        timeouts = [timeout_in(_checked("the request", message.parameters)), self._timeout]
        for output in message.outputs:
            _checked(f"output {output.name!r}", output.parameters)
        return InferenceRequest(
            inputs,
            message.id or None,
            frozenset(output.name for output in message.outputs) or None,
            min((each for each in timeouts if each is not None), default=None),
        )

    def write(self, result: InferenceResult) -> ModelInferResponse:
        answer = ModelInferResponse(
            model_name=result.route.model,
            model_version=str(result.arm.version),
            id=result.request.id or "",
        )
        if result.inputs.ignored:
            answer.parameters["ignored_inputs"].string_param = ", ".join(result.inputs.ignored)
        for name, datatype, array in result.outputs.tensors(result.request.outputs):
            answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
            answer.raw_output_contents.append(raw_tensors.encode_tensor(array))
        return answer

    def _inputs(self) -> dict[str, GivenTensor]:
        tensors, contents = self._message.inputs, self._message.raw_input_contents
        if not contents:
            return {tensor.name: _typed(tensor) for tensor in tensors}
        if len(contents) != len(tensors):
            raise InvalidError(
                f"raw_input_contents: {len(contents)} for {len(tensors)} inputs; give one for each,"
                " or none"
            )
        return {t.name: _raw(t, content) for t, content in zip(tensors, contents, strict=True)}


def _raw(tensor: _Input, content: bytes) -> GivenTensor:
    if tensor.HasField("contents"):
        raise InvalidError(
            f"input {tensor.name!r}: give contents or raw_input_contents, not both",
            field=tensor.name,
        )
    return raw_tensors.decode_tensor(
        tensor.name, tensor.datatype, _shape(tensor), memoryview(content)
    )


def _typed(tensor: _Input) -> GivenTensor:
    name, datatype, shape = tensor.name, tensor.datatype, _shape(tensor)
    if datatype == "FP16":
        raise InvalidError(f"input {name!r}: FP16 comes only as raw bytes; send FP32", field=name)
    return filled(name, datatype, shape, _values(name, datatype, tensor.contents))


def _values(name: str, datatype: str, contents: InferTensorContents) -> list[Any]:
    """Values of the one field that the datatype has; none where it has none."""
    values = list(getattr(contents, _CONTENTS.get(datatype, ""), ()))
    if datatype != "BYTES":
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise InvalidError(
            f"input {name!r}: an element is not UTF-8: {error}", field=name
        ) from None


def _shape(tensor: _Input) -> tuple[int, ...]:
    _checked(f"input {tensor.name!r}", tensor.parameters)
    shape = tuple(tensor.shape)
    check_tensor(tensor.name, tensor.datatype, shape)
    return shape


def _checked(where: str, given: Mapping[str, InferParameter]) -> dict[str, object]:
    """The parameters as plain values."""
    if not given:
        return {}
    parameters = {name: _value(parameter) for name, parameter in given.items()}
    check_extensions(where, parameters)
    return parameters


def _value(parameter: InferParameter) -> object:
    chosen = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, chosen) if chosen else None
