"""The gRPC server: bounded messages in, whole answers out, errors as gRPC's status codes."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import structlog

from loopwright_common.errors import InvalidError, LoopwrightError, UnavailableError
from loopwright_common.process.runtime import Service
from loopwright_scorer.errors import RETRY_AFTER_SECONDS, SlowClientError, status_of
from loopwright_scorer.protocols.request import RequestLimits
from loopwright_scorer.protocols.v2.grpc import SERVICE, Context, GrpcInferenceService

_CALLS = 1024
"""Calls under way; further ones gRPC itself refuses."""
_RECEIVING = 128
"""Calls whose messages come at a time; others wait, so that what comes has a bound in memory."""
_GRACE_SECONDS = 2.0
_PUSHBACK = (("grpc-retry-pushback-ms", str(RETRY_AFTER_SECONDS * 1000)),)
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
log = structlog.get_logger()


class GrpcServer:
    """A server on one port."""

    def __init__(
        self, inference: GrpcInferenceService, limits: RequestLimits, *, shares_port: bool = False
    ) -> None:
        self._server = grpc.aio.server(
            handlers=[_Methods(inference, limits)],
            maximum_concurrent_rpcs=_CALLS,
            options=[
                ("grpc.max_receive_message_length", limits.largest_body),
                ("grpc.max_send_message_length", -1),
                # By itself gRPC lets two servers share a port, and neither knows.
                ("grpc.so_reuseport", int(shares_port)),
            ],
        )

    def listen(self, host: str, port: int) -> int:
        """The port; any free one for 0. UnavailableError when it is taken."""
        try:
            return self._server.add_insecure_port(_address(host, port))
        except RuntimeError:
            raise UnavailableError(
                f"cannot listen for gRPC on {host}:{port}; free it or set"
                " LOOPWRIGHT_SCORER_GRPC_PORT (0 for none)"
            ) from None

    async def run(self) -> None:
        """Answer until `stop`; returns only when cancelled."""
        await self._server.start()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Take no more calls and answer those under way, for a while."""
        await self._server.stop(_GRACE_SECONDS)


def attach_grpc(
    service: Service, inference: GrpcInferenceService, limits: RequestLimits, port: int
) -> GrpcServer:
    """Let the service answer over gRPC too, on the same host.

    UnavailableError where the port is taken.
    """
    server = GrpcServer(inference, limits, shares_port=service.shares_port)
    service.before_start.append(lambda: server.listen(service.host, port))
    service.loops.append(server.run)
    service.on_stop.insert(0, server.stop)
    return server


class _Methods(grpc.GenericRpcHandler):
    """Every method of the service, also those it does not know: it has better words for them.

    On the wire a stream of one message is no different from the one message, but is read when
    asked for, and so with a limit in time.
    """

    def __init__(self, inference: GrpcInferenceService, limits: RequestLimits) -> None:
        self._inference = inference
        self._limits = limits
        self._receiving = asyncio.Semaphore(_RECEIVING)

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        service, _, method = details.method.lstrip("/").partition("/")
        if service != SERVICE:
            return None
        return grpc.stream_unary_rpc_method_handler(self._handler(method))

    def _handler(self, method: str) -> Callable[[object, Context], Awaitable[bytes]]:
        async def handle(_: object, context: Context) -> bytes:
            try:
                return await self._answer(method, context)
            except LoopwrightError as error:
                code = _CODES.get(status_of(error), grpc.StatusCode.INTERNAL)
                pushback = _PUSHBACK if isinstance(error, UnavailableError) else ()
                await context.abort(code, str(error), pushback)
            except Exception as error:
                log.error("protocol.failed", method=method, exc_info=error)
                message = "an internal error; the scorer's log has the details"
                await context.abort(grpc.StatusCode.INTERNAL, message)

        return handle

    async def _answer(self, method: str, context: Context) -> bytes:
        body = await self._received(context)
        self._limits.reserve(len(body))
        try:
            message = await self._inference.answer(method, body, context)
            return message.SerializeToString()
        finally:
            self._limits.available += len(body)

    async def _received(self, context: Context) -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_seconds), self._receiving:
                body = await context.read()
        except TimeoutError:
            raise SlowClientError(
                f"the message did not come within {self._limits.body_seconds:g} s"
            ) from None
        if not isinstance(body, bytes):  # the end of the stream
            raise InvalidError("a call has one message, none came")
        return body


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
