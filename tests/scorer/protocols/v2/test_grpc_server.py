"""What the gRPC server takes, how long it waits, and how the scorer runs it."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as aio_triton
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from loopwright.ports import free_port
from loopwright_common.cloudevents.inference_logged import InferenceLogged
from loopwright_common.errors import UnavailableError
from loopwright_common.process.runtime import run_until
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.main import build
from loopwright_scorer.models.loaded_model import LoadedModel, load
from loopwright_scorer.protocols import messages
from loopwright_scorer.protocols.messages import inference_pb2
from loopwright_scorer.routing.routes import Routes
from loopwright_scorer.settings import ScorerSettings
from loopwright_scorer.staging_server import fixed_route
from tests.scorer.harness import MODEL, ROW, ScorerHarness, eventually
from tests.scorer.protocols.v2.test_grpc import ROWS, tensors
from tests.scorer.serving import doubling, laborious, routes_of, serving_grpc

LARGEST = 1 << 20
ONE = {name: data[:1] for name, data in ROWS.items()}
MESSAGES = Path(messages.__file__).parent


@pytest.fixture(scope="module")
def address(
    package_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    numbers = doubling(tmp_path_factory.mktemp("doubling") / "FP64", "float64")
    packages = {"FP64": numbers, "native": package_dirs["native"]}
    with serving_grpc(routes_of(packages), largest=LARGEST) as address:
        yield address


@pytest.fixture
def channel(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield channel


@pytest.fixture
def port() -> int:
    return free_port()


def rows_of(size: int) -> Any:
    """A request with so many bytes of numbers."""
    request = service_pb2.ModelInferRequest(model_name="FP64")
    request.inputs.add(name="values", datatype="FP64", shape=[size // 16, 2])
    request.raw_input_contents.append(bytes(size))
    return request


def slow(rows: int) -> Any:
    """A request that is computed in a thread, and waits in line for it."""
    request = service_pb2.ModelInferRequest(model_name="native")
    for tensor in tensors({name: np.repeat(data, rows) for name, data in ONE.items()}):
        request.inputs.append(tensor._get_tensor())
        request.raw_input_contents.append(tensor._get_content())
    return request


def work(side: int) -> Any:
    """A request that takes as long as the product of two squares of this side."""
    request = service_pb2.ModelInferRequest(model_name="long")
    tensor = request.inputs.add(name="values", datatype="FP64", shape=[1, 2])
    tensor.contents.fp64_contents.extend([1, side])
    return request


def test_messages_may_be_as_large_as_bodies_and_no_larger(channel: Any) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

    assert stub.ModelInfer(rows_of(LARGEST - 4096)).outputs[0].shape == [(LARGEST - 4096) // 16]
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with pytest.raises(grpc.RpcError) as raised:
            stub.ModelInfer(rows_of(4 * LARGEST), compression=compression)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def hasty() -> Iterator[Any]:
    """A channel to a server of its own that waits for no message."""
    with serving_grpc(Routes(), seconds=0.3) as address, grpc.insecure_channel(address) as channel:
        yield channel


def test_a_message_that_does_not_come_is_not_waited_for(hasty: Any) -> None:
    infer = hasty.stream_unary("/inference.GRPCInferenceService/ModelInfer")

    def never() -> Iterator[bytes]:
        time.sleep(2)
        yield b""

    with pytest.raises(grpc.RpcError, match=r"the message did not come within 0.3 s"):
        infer(never())
    with pytest.raises(grpc.RpcError, match="a call has one message, none came"):
        infer(iter(()))


def test_what_is_no_message_is_refused(channel: Any) -> None:
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    with pytest.raises(grpc.RpcError, match="no ModelInferRequest") as raised:
        infer(b"\xff\xff")

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_streams_and_other_services_are_said_not_to_be_served(channel: Any) -> None:
    stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    with pytest.raises(grpc.RpcError, match="ModelStreamInfer: this extension is not served"):
        next(stream(iter([b""])))
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/other.Service/Do")(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_of_thousands_of_parts_is_refused_before_it_is_parsed(channel: Any) -> None:
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    empty_input = b"\x2a\x00"

    for count, says in ((300_000, "too many parts"), (20_000, "inputs: 20,000 are too many")):
        with pytest.raises(grpc.RpcError, match=says) as raised:
            infer(b"\x0a\x04FP64" + empty_input * count)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_address_that_asks_too_often_is_told_when_to_come_again() -> None:
    with serving_grpc(Routes(), rate=0.1) as address, grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(service_pb2.ServerLiveRequest()).live
        with pytest.raises(grpc.RpcError, match="LOOPWRIGHT_SCORER_REQUEST_RATE") as raised:
            stub.ServerLive(service_pb2.ServerLiveRequest())

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    told = {each.key: each.value for each in raised.value.trailing_metadata()}
    assert int(told["grpc-retry-pushback-ms"]) >= 1000


def test_metadata_without_end_is_refused(channel: Any) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    with pytest.raises(grpc.RpcError) as raised:
        stub.ServerLive(service_pb2.ServerLiveRequest(), metadata=[("long", "x" * 65_536)])
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_requests_together_hold_no_more_than_their_room(channel: Any) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    many = slow(8000)
    calls = [stub.ModelInfer.future(many) for _ in range(12)]

    codes = {call.code() for call in calls}

    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    refused = next(call for call in calls if call.code() is grpc.StatusCode.UNAVAILABLE)
    assert "LOOPWRIGHT_SCORER_REQUEST_BUFFER" in refused.details()
    assert ("grpc-retry-pushback-ms", "1000") in refused.trailing_metadata()
    assert stub.ModelInfer(many).outputs


def _laborious(tmp_path: Path) -> LoadedModel:
    return load(laborious(tmp_path / "long"), "", IsolationConfig(tmp_path / "isolated"))


def test_after_its_deadline_a_call_is_not_begun_and_what_was_begun_counts(tmp_path: Path) -> None:
    routes, model = Routes(), _laborious(tmp_path)
    # Calls that are expected to take long wait in line, each for a batch of its own.
    routes.install(fixed_route("long", 3, replace(model, call_seconds=1.0)))
    with serving_grpc(routes) as address, grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer.future(work(2500), timeout=0.4) for _ in range(3)]
        codes = [call.code() for call in calls]
        stub.ModelInfer(work(1))  # behind the one that is still computed
        [told] = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="long")).model_stats

    assert codes == [grpc.StatusCode.DEADLINE_EXCEEDED] * 3
    assert told.execution_count == 2


def test_the_time_that_a_request_gives_is_its_deadline_too(channel: Any) -> None:
    request = slow(8000)
    request.parameters["timeout"].int64_param = 1

    with pytest.raises(grpc.RpcError, match="the time that the request gave is up") as raised:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_calls_over_grpc_are_recorded_and_can_be_labelled(
    harness: ScorerHarness, port: int
) -> None:
    async with (
        harness.replica(grpc_port=port) as replica,
        aio_triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        await harness.route(1, await harness.arm(1, "low"))
        await replica.serves(1)
        answer = await client.infer(
            MODEL, tensors(ONE), headers={"loopwright-request-id": "order 7"}
        )
        prediction = answer.get_response().parameters["loopwright-prediction-id"].string_param
        feedback = {"model": MODEL, "ids": [prediction], "labels": ["yes"]}
        labelled = await replica.http.post("/v1/feedback", json=feedback)

    assert labelled.json()["accepted"] == 1
    [record] = cast(list[InferenceLogged], await harness.events(InferenceLogged.topic))[
        0
    ].table.to_pylist()
    assert (record["prediction_id"], record["request_id"]) == (f"{prediction}.0", "order 7")


async def test_a_key_is_answered_by_the_same_version_over_both(
    harness: ScorerHarness, port: int
) -> None:
    async with (
        harness.replica(grpc_port=port) as replica,
        aio_triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        await harness.route(1, await harness.arm(1, "low", 0.5), await harness.arm(2, "high", 0.5))
        await replica.serves(1)
        for key in map(str, range(20)):
            over_http = await replica.infer(ROW, loopwright_routing_key=key)
            over_grpc = await client.infer(
                MODEL, tensors(ONE), headers={"loopwright-routing-key": key}
            )
            assert over_grpc.get_response().model_version == over_http.json()["model_version"]


async def test_calls_under_way_are_answered_and_kept_when_the_scorer_stops(
    harness: ScorerHarness, port: int
) -> None:
    many = tensors({name: np.repeat(data, 8000) for name, data in ONE.items()})
    stop = asyncio.Event()
    await harness.route(1, await harness.arm(1, "native"))
    async with (
        AsyncExitStack() as stack,
        aio_triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        settings = harness.settings(port=free_port(), grpc_port=port)
        running = asyncio.create_task(run_until(stop, [await build(settings, harness.bus, stack)]))
        await eventually(lambda: is_served(client))
        call = asyncio.create_task(client.infer(MODEL, many))
        await client.is_server_live()  # answered on the same connection, after the call came
        stop.set()
        answer = await call
        await running
        with pytest.raises(InferenceServerException) as raised:
            await client.infer(MODEL, many)

    assert answer.as_numpy("label").shape == (8000,)
    assert raised.value.status() == "StatusCode.UNAVAILABLE"
    batches = cast(list[InferenceLogged], await harness.events(InferenceLogged.topic))
    assert sum(len(batch.table) for batch in batches if not batch.last) == 8000


async def is_served(client: Any) -> bool:
    try:
        return bool(await client.is_model_ready(MODEL))
    except InferenceServerException:
        return False


async def test_a_port_that_is_taken_is_named_with_its_setting(
    harness: ScorerHarness, port: int
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(
            UnavailableError, match=f"{port}; free it or set LOOPWRIGHT_SCORER_GRPC"
        ):
            async with harness.replica(grpc_port=port):
                pass


def test_the_port_is_a_thousand_above_that_of_http() -> None:
    assert ScorerSettings(port=8014).port_of_grpc == 9014
    assert ScorerSettings(port=8014, grpc_port=7).port_of_grpc == 7
    assert ScorerSettings(port=8014, grpc_port=0).port_of_grpc == 0


def test_the_compiled_messages_are_those_of_the_source(tmp_path: Path) -> None:
    """`make proto` makes them."""
    to = [f"--descriptor_set_out={tmp_path / 'inference.binpb'}", f"--pyi_out={tmp_path}"]
    assert protoc.main(["protoc", f"-I{MESSAGES}", *to, "inference.proto"]) == 0

    for name in ("inference.binpb", "inference_pb2.pyi"):
        assert (MESSAGES / name).read_bytes() == (tmp_path / name).read_bytes()


def test_messages_are_those_of_the_published_protocol() -> None:
    """Names, numbers and types of all that we declare are as in the client's own."""
    published = {
        **service_pb2.DESCRIPTOR.message_types_by_name,
        **model_config_pb2.DESCRIPTOR.message_types_by_name,
    }
    for name, message in inference_pb2.DESCRIPTOR.message_types_by_name.items():
        assert fields(message).items() <= fields(published[name]).items()
    methods = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    known = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for name, method in methods.items():
        assert method.input_type.name == known[name].input_type.name
        assert method.output_type.name == known[name].output_type.name


def fields(message: Any, path: str = "") -> dict[str, tuple[object, ...]]:
    """What the wire knows of each field, by its dotted path; of nested messages too."""
    found: dict[str, tuple[object, ...]] = {
        f"{path}.{field.name}": (
            field.number,
            field.type,
            field.is_repeated,
            field.message_type and field.message_type.full_name,
        )
        for field in message.fields
    }
    for nested in message.nested_types:
        found |= fields(nested, f"{path}.{nested.name}")
    return found
