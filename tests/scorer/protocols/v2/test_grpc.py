"""The unmodified tritonclient over gRPC, beside HTTP where both have to say the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http
from tritonclient.grpc import service_pb2, service_pb2_grpc

from loopwright_scorer.routing.routes import Routes
from loopwright_scorer.tensors.tensors import NUMPY_TYPES
from tests.scorer.serving import doubling, routes_of, serving_grpc, serving_http

NUMBERS = [name for name in NUMPY_TYPES if name not in ("BYTES", "BOOL")]
ROWS: dict[str, np.ndarray] = {
    "age": np.array([41.0, np.nan]),
    "visits": np.array([2, 0]),
    "job": np.array(["clerk", "naïve"], object),
    "balance": np.array([1.5, 0.0]),
}
DATATYPES = {"age": "FP64", "visits": "INT64", "job": "BYTES", "balance": "FP64"}
PAIR = np.array([[1, 2]], np.float32)


@pytest.fixture(scope="module")
def routes(package_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Routes:
    root = tmp_path_factory.mktemp("numbers")
    numbers = {name: doubling(root / name, np.dtype(NUMPY_TYPES[name]).name) for name in NUMBERS}
    return routes_of({"bank": package_dirs["trained"], "low": package_dirs["low"], **numbers})


@pytest.fixture(scope="module")
def address(routes: Routes) -> Iterator[str]:
    with serving_grpc(routes) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
def stub(address: str) -> Iterator[Any]:
    """The standard's calls as they are; tritonclient sends no typed contents."""
    with grpc.insecure_channel(address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def tensors(rows: dict[str, np.ndarray] = ROWS, made_by: Any = triton) -> list[Any]:
    """The bank's inputs."""
    inputs = []
    for name, data in rows.items():
        tensor = made_by.InferInput(name, list(data.shape), DATATYPES[name])
        tensor.set_data_from_numpy(data)
        inputs.append(tensor)
    return inputs


def values(array: np.ndarray, datatype: str, name: str = "values") -> list[Any]:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return [tensor]


def typed(datatype: str, field: str, data: list[Any], shape: tuple[int, ...] = (2, 2)) -> Any:
    request = service_pb2.ModelInferRequest(model_name=datatype)
    tensor = request.inputs.add(name="values", datatype=datatype, shape=shape)
    getattr(tensor.contents, field).extend(data)
    return request


def test_rows_are_answered_raw_in_the_order_of_the_outputs(client: Any) -> None:
    answer = client.infer("bank", tensors(), request_id="mine")

    response = answer.get_response()
    assert (response.model_name, response.model_version, response.id) == ("bank", "3", "mine")
    assert [each.name for each in response.outputs] == ["label", "probabilities"]
    assert len(response.raw_output_contents) == 2
    assert answer.as_numpy("label").tolist()[0] in (b"no", b"yes")
    assert answer.as_numpy("probabilities").shape == (2, 2)


def test_only_the_outputs_asked_for_come(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("probabilities")]

    response = client.infer("bank", tensors(), outputs=wanted).get_response()

    assert [each.name for each in response.outputs] == ["probabilities"]


def test_grpc_and_http_answer_the_same(routes: Routes, client: Any) -> None:
    with (
        serving_http(routes) as address,
        tritonclient.http.InferenceServerClient(address) as http,
    ):
        over_http = http.infer("bank", tensors(made_by=tritonclient.http))
        metadata = http.get_model_metadata("bank")
        config = http.get_model_config("bank")
        index = http.get_model_repository_index()
    over_grpc = client.infer("bank", tensors())

    for output in ("label", "probabilities"):
        assert np.array_equal(over_grpc.as_numpy(output), over_http.as_numpy(output))
    metadata.pop("parameters")  # gRPC has no field for them
    assert numbers_in(client.get_model_metadata("bank", as_json=True)) == metadata
    config.pop("max_batch_size")  # 0 is not sent
    assert numbers_in(client.get_model_config("bank", as_json=True)["config"]) == config
    for entry in index:
        entry.pop("reason")
    assert client.get_model_repository_index(as_json=True)["models"] == index


def numbers_in(content: Any) -> Any:
    """Protobuf's JSON with its 64-bit numbers, which are text there, as numbers."""
    if isinstance(content, dict):
        return {
            name: [int(number) for number in part]
            if name in ("shape", "dims") or (name == "versions" and len(content) == 1)
            else numbers_in(part)
            for name, part in content.items()
        }
    return [numbers_in(part) for part in content] if isinstance(content, list) else content


@pytest.mark.parametrize("datatype", NUMBERS)
def test_every_number_type_arrives_as_it_was_sent(client: Any, datatype: str) -> None:
    array = np.array([[1, 2], [3, 4]], NUMPY_TYPES[datatype])

    answer = client.infer(datatype, values(array, datatype))

    assert answer.as_numpy("prediction").tolist() == [6, 14]


@pytest.mark.parametrize(
    ("datatype", "field"),
    [
        *((f"INT{size}", "int_contents") for size in (8, 16, 32)),
        *((f"UINT{size}", "uint_contents") for size in (8, 16, 32)),
        ("INT64", "int64_contents"),
        ("UINT64", "uint64_contents"),
        ("FP32", "fp32_contents"),
        ("FP64", "fp64_contents"),
    ],
)
def test_contents_may_be_typed(stub: Any, datatype: str, field: str) -> None:
    answer = stub.ModelInfer(typed(datatype, field, [1, 2, 3, 4]))

    assert np.frombuffer(answer.raw_output_contents[0]).tolist() == [6, 14]


def test_text_may_be_typed(client: Any, stub: Any) -> None:
    request = service_pb2.ModelInferRequest(model_name="bank")
    fields = {"age": "fp64", "visits": "int64", "job": "bytes", "balance": "fp64"}
    for name, data in ROWS.items():
        tensor = request.inputs.add(name=name, datatype=DATATYPES[name], shape=data.shape)
        texts = [value.encode() for value in data] if name == "job" else data
        getattr(tensor.contents, f"{fields[name]}_contents").extend(texts)

    answer = stub.ModelInfer(request)

    raw = client.infer("bank", tensors()).get_response()
    assert list(answer.raw_output_contents) == list(raw.raw_output_contents)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (typed("FP32", "fp32_contents", [1, 2, 3]), "shape [2, 2] needs 4 values, data has 3"),
        (typed("FP32", "fp64_contents", [1, 2, 3, 4]), "needs 4 values, data has 0"),
        (typed("INT8", "int_contents", [1, 2, 3, 400]), "400"),
        (typed("FP16", "fp32_contents", [1, 2, 3, 4]), "FP16 comes only as raw bytes"),
        (typed("FP32", "fp32_contents", [], (0, 2)), "shape: give positive whole numbers"),
        (service_pb2.ModelInferRequest(model_name="FP32"), "inputs: give at least one"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(stub: Any, asked: Any, says: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(asked)

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in str(raised.value.details())


def test_raw_contents_are_one_for_each_input_and_alone(stub: Any) -> None:
    request = typed("FP32", "fp32_contents", [1, 2, 3, 4])
    request.raw_input_contents.append(b"1234" * 4)
    with pytest.raises(grpc.RpcError, match="contents or raw_input_contents, not both"):
        stub.ModelInfer(request)
    request.raw_input_contents.append(b"1234" * 4)
    with pytest.raises(grpc.RpcError, match="2 for 1 inputs; give one for each"):
        stub.ModelInfer(request)


@pytest.mark.parametrize(
    ("model", "more", "status", "says"),
    [
        ("nobody", {}, "NOT_FOUND", "no model 'nobody' is served here"),
        ("FP32", {"model_version": "9"}, "NOT_FOUND", "no version 9 here, only 3"),
        ("FP32", {"model_version": "x"}, "NOT_FOUND", "versions are whole numbers"),
        ("FP32@nothing", {}, "NOT_FOUND", "nothing"),
        ("bank", {}, "INVALID_ARGUMENT", "no input 'age'"),
        ("FP32", {"sequence_id": 3}, "UNIMPLEMENTED", "sequences are not served"),
    ],
)
def test_the_client_hears_status_and_words(
    client: Any, model: str, more: dict[str, Any], status: str, says: str
) -> None:
    with pytest.raises(triton.InferenceServerException) as raised:
        client.infer(model, values(PAIR, "FP32"), **more)

    assert raised.value.status() == f"StatusCode.{status}"
    assert says in raised.value.message()


def test_outputs_are_there_and_of_no_extension(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("prediction", class_count=2)]
    with pytest.raises(triton.InferenceServerException, match="classification: this extension"):
        client.infer("FP32", values(PAIR, "FP32"), outputs=wanted)
    wanted = [triton.InferRequestedOutput("label")]
    with pytest.raises(triton.InferenceServerException, match="no 'label', only prediction"):
        client.infer("FP32", values(PAIR, "FP32"), outputs=wanted)


def test_a_version_that_fails_is_the_servers_fault(client: Any) -> None:
    rows = tensors({**ROWS, "age": np.array([41.0, 40.0]), "visits": np.array([2, 100])})
    with pytest.raises(triton.InferenceServerException, match="version 3 of low failed") as raised:
        client.infer("low", rows)
    assert raised.value.status() == "StatusCode.INTERNAL"


def test_what_the_server_says_of_itself_is_true(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("bank", "3")
    assert client.is_model_ready("bank@champion")
    assert not client.is_model_ready("bank", "4")
    assert not client.is_model_ready("nobody")
    assert list(client.get_server_metadata().extensions) == [
        "model_configuration",
        "model_repository",
        "statistics",
    ]
    for ask in (client.get_trace_settings, client.get_system_shared_memory_status):
        with pytest.raises(triton.InferenceServerException, match="extension is not served"):
            ask()


def test_statistics_grow_by_what_was_asked(client: Any) -> None:
    def statistics() -> Any:
        return client.get_inference_statistics("bank", "3").model_stats[0]

    before = statistics()
    client.infer("bank", tensors({name: data[:1] for name, data in ROWS.items()}))
    client.infer("bank", tensors(), model_version="3")
    after = statistics()

    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 2
    assert after.inference_stats.success.count - before.inference_stats.success.count == 2
    everything = client.get_inference_statistics().model_stats
    assert {each.name for each in everything} == {"bank", "low", *NUMBERS}


def test_a_model_is_loaded_and_unloaded_only_as_its_route_allows(client: Any) -> None:
    client.load_model("bank")
    with pytest.raises(triton.InferenceServerException, match="no model 'nobody'"):
        client.load_model("nobody")
    with pytest.raises(triton.InferenceServerException, match="comes from the registry"):
        client.load_model("bank", config="{}")
    with pytest.raises(triton.InferenceServerException, match="its route serves it") as raised:
        client.unload_model("bank")
    assert raised.value.status() == "StatusCode.PERMISSION_DENIED"
