"""The gRPC server: bounded messages in, whole answers out, errors as gRPC's status codes."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import grpc
import structlog

from loopwright_common.errors import (
    InvalidError,
    LoopwrightError,
    SlowClientError,
    TooManyRequestsError,
    UnavailableError,
)
from loopwright_common.process.service import Service
from loopwright_common.web.client_rates import ClientRates
from loopwright_common.web.request_limits import MemoryCharge
from loopwright_scorer.errors import status_of
from loopwright_scorer.protocols.request import InferenceLimits
from loopwright_scorer.protocols.v2.grpc import SERVICE, Context, GrpcInferenceService
from loopwright_scorer.protocols.v2.grpc_size import parsed_message_size

_CALLS = 1024
"""Calls under way; further ones gRPC itself refuses."""
_RECEIVING = 128
"""Calls whose messages come at a time; others wait, so that what comes has a bound in memory."""
_LARGEST_HEAD = 32 << 10
"""Bytes of a call's metadata."""
_GRACE_SECONDS = 2.0
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
log = structlog.get_logger()


class GrpcServer:
    """A server on one port."""

    def __init__(
        self,
        inference: GrpcInferenceService,
        limits: InferenceLimits,
        rates: ClientRates,
        *,
        shares_port: bool = False,
    ) -> None:
        self._server = grpc.aio.server(
            handlers=[_Methods(inference, limits, rates)],
            maximum_concurrent_rpcs=_CALLS,
            options=[
                ("grpc.max_receive_message_length", limits.largest_inference),
                ("grpc.max_metadata_size", _LARGEST_HEAD),
                ("grpc.absolute_max_metadata_size", _LARGEST_HEAD),
                ("grpc.max_concurrent_streams", _RECEIVING),
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
    service: Service, inference: GrpcInferenceService, limits: InferenceLimits, port: int
) -> GrpcServer:
    """Let the service answer over gRPC too, on the same host.

    UnavailableError where the port is taken.
    """
    rates = service.guard.rates
    server = GrpcServer(inference, limits, rates, shares_port=service.shares_port)
    service.other_addresses["gRPC"] = f"{service.host}:{port}"
    service.before_start.append(lambda: server.listen(service.host, port))
    service.loops.append(server.run)
    service.on_stop.insert(0, server.stop)
    return server


class _Methods(grpc.GenericRpcHandler):
    """Every method of the service, also those it does not know: it has better words for them.

    On the wire a stream of one message is no different from the one message, but is read when
    asked for, and so with a limit in time.
    """

    def __init__(
        self, inference: GrpcInferenceService, limits: InferenceLimits, rates: ClientRates
    ) -> None:
        self._inference = inference
        self._limits = limits
        self._rates = rates
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
                await context.abort(code, str(error), _pushback(error))
            except Exception as error:
                log.error("protocol.failed", method=method, exc_info=error)
                message = "an internal error; the scorer's log has the details"
                await context.abort(grpc.StatusCode.INTERNAL, message)

        return handle

    async def _answer(self, method: str, context: Context) -> bytes:
        self._check_rate(context)
        body = await self._received(context)
        charge = MemoryCharge(self._limits.memory)
        try:
            charge.add(parsed_message_size(body, self._limits.largest_json))
            message = await self._inference.answer(method, body, context, charge.add)
            return message.SerializeToString()
        finally:
            charge.release()

    def _check_rate(self, context: Context) -> None:
        now = asyncio.get_running_loop().time()
        rate = self._rates.of(client_host(context.peer()), now)
        if wait := math.ceil(rate.wait(now)):
            raise TooManyRequestsError(
                f"more calls come from this address than are taken; come again in {wait} s, or"
                " raise LOOPWRIGHT_SCORER_REQUEST_RATE",
                wait,
            )
        rate.count(now)

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


def client_host(peer: str) -> str:
    """The address in gRPC's name of a peer, such as `ipv4:127.0.0.1:4321`."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")


def _pushback(error: LoopwrightError) -> tuple[tuple[str, str], ...]:
    if isinstance(error, UnavailableError | TooManyRequestsError):
        return (("grpc-retry-pushback-ms", str(error.retry_after * 1000)),)
    return ()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
