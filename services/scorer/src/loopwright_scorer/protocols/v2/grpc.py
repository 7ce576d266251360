"""Open Inference Protocol V2 over gRPC: its calls, answered by the core that HTTP asks too.

Metadata beside a call: `loopwright-routing-key` and `loopwright-request-id` come with it,
`loopwright-prediction-id` goes back, also as a parameter, where tritonclient can read it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message
from grpc.aio import ServicerContext

from loopwright_common.errors import InvalidError, NotFoundError
from loopwright_scorer.errors import UnsupportedError
from loopwright_scorer.inference.call_recorder import CallStats
from loopwright_scorer.inference.codec import InferenceCall, InferenceResponse
from loopwright_scorer.inference.executor import LOOP_BYTES
from loopwright_scorer.inference.metadata import configuration, describe, statistics
from loopwright_scorer.inference.service import Charge, InferenceService
from loopwright_scorer.protocols.messages import inference_pb2 as pb
from loopwright_scorer.protocols.model_address import parse_address
from loopwright_scorer.protocols.model_repository import ModelRepository
from loopwright_scorer.protocols.v2.grpc_codec import GrpcCodec
from loopwright_scorer.routing.routes import Route, ServedArm

SERVICE = "inference.GRPCInferenceService"
EXTENSIONS = ("model_configuration", "model_repository", "statistics")
PREDICTION_ID = "loopwright-prediction-id"
_ROUTING_KEY = "loopwright-routing-key"
_REQUEST_ID = "loopwright-request-id"

Context = ServicerContext[bytes, bytes]
M = TypeVar("M", bound=Message)


class GrpcInferenceService:
    """The calls of `GRPCInferenceService`, answered by the inference service."""

    def __init__(
        self,
        scoring: InferenceService,
        not_ready_reason: Callable[[], Awaitable[str | None]],
        stats: CallStats,
        repository: ModelRepository,
    ) -> None:
        self._scoring = scoring
        self._routes = scoring.routes
        self._not_ready_reason = not_ready_reason
        self._stats = stats
        self._repository = repository
        self._calls: Mapping[str, tuple[type[Message], Callable[[Any], Awaitable[Message]]]] = {
            "ServerLive": (pb.ServerLiveRequest, self._server_live),
            "ServerReady": (pb.ServerReadyRequest, self._server_ready),
            "ServerMetadata": (pb.ServerMetadataRequest, self._server_metadata),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": (pb.ModelConfigRequest, self._model_config),
            "ModelStatistics": (pb.ModelStatisticsRequest, self._model_statistics),
            "RepositoryIndex": (pb.RepositoryIndexRequest, self._index),
            "RepositoryModelLoad": (pb.RepositoryModelLoadRequest, self._load),
            "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest, self._unload),
        }

    async def answer(
        self, method: str, body: bytes, context: Context, charge: Charge | None = None
    ) -> Message:
        """Any LoopwrightError is the server's to tell; UnsupportedError for an unknown method."""
        if method == "ModelInfer":
            message = _parsed(pb.ModelInferRequest, body)
            return await self._infer(message, len(body), context, charge)
        if method not in self._calls:
            raise UnsupportedError(f"{method}: this extension is not served")
        kind, answer = self._calls[method]
        return await answer(_parsed(kind, body))

    async def _infer(
        self,
        message: pb.ModelInferRequest,
        size: int,
        context: Context,
        charge: Charge | None,
    ) -> pb.ModelInferResponse:
        address = parse_address(message.model_name, message.model_version or None)
        metadata = {name: _text(value) for name, value in context.invocation_metadata() or ()}
        call = InferenceCall(
            address.model,
            size,
            address.version,
            address.alias,
            metadata.get(_ROUTING_KEY) or None,
            metadata.get(_REQUEST_ID) or None,
        )
        codec = GrpcCodec(message, context.time_remaining())
        response = self._scoring.infer_inline(call, codec) if size <= LOOP_BYTES else None
        if response is None:
            response = await self._infer_queued(call, codec, charge)
        context.set_trailing_metadata(((PREDICTION_ID, response.prediction_id),))
        response.content.parameters[PREDICTION_ID].string_param = response.prediction_id
        return response.content

    async def _infer_queued(
        self, call: InferenceCall, codec: GrpcCodec, charge: Charge | None
    ) -> InferenceResponse[pb.ModelInferResponse]:
        """gRPC cancels what its client gave up; what a version is computing has to count."""
        gone = asyncio.Event()
        task = asyncio.create_task(self._scoring.infer(call, codec, gone.wait, charge))
        task.add_done_callback(_consume_exception)
        try:
            return await asyncio.shield(task)
        finally:
            gone.set()

    async def _server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=await self._not_ready_reason() is None)

    async def _server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name="loopwright", version=version("loopwright-scorer"), extensions=EXTENSIONS
        )

    async def _model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """A model that is not there is not ready, and that is no error."""
        try:
            self._find(request.name, request.version)
        except NotFoundError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def _model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        metadata = describe(*self._find(request.name, request.version))
        return _filled(pb.ModelMetadataResponse(), metadata)

    async def _model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        config = configuration(*self._find(request.name, request.version))
        return _filled(pb.ModelConfigResponse(), {"config": config})

    async def _model_statistics(
        self, request: pb.ModelStatisticsRequest
    ) -> pb.ModelStatisticsResponse:
        if not request.name:
            counted = statistics(self._routes.all(), self._stats)
        else:
            route, arm = self._find(request.name, request.version)
            is_named = request.version or "@" in request.name
            counted = statistics([route], self._stats, arm.version if is_named else None)
        return _filled(pb.ModelStatisticsResponse(), counted)

    async def _index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        models = self._repository.index(only_ready=request.ready)
        return _filled(pb.RepositoryIndexResponse(), {"models": models})

    async def _load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        await self._repository.load(request.model_name, request.parameters)
        return pb.RepositoryModelLoadResponse()

    async def _unload(
        self, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        await self._repository.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _find(self, name: str, version: str) -> tuple[Route, ServedArm]:
        return parse_address(name, version or None).find(self._routes)


def _consume_exception(task: asyncio.Task[Any]) -> None:
    """Its caller may have gone, and asyncio complains of errors that nobody takes."""
    if not task.cancelled():
        task.exception()


def _parsed(kind: type[M], body: bytes) -> M:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise InvalidError(f"the message is no {kind.__name__}: {error}") from None


def _filled(message: M, content: Mapping[str, object]) -> M:
    """What the protocol has no field for over gRPC is left out."""
    return ParseDict(dict(content), message, ignore_unknown_fields=True)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
