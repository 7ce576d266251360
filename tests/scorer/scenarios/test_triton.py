"""The unmodified tritonclient over HTTP, with its defaults: raw tensors in and out."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from loopwright_scorer.tensors.tensors import NUMPY_TYPES
from tests.scorer.harness import ROW, infer_body
from tests.scorer.serving import doubling, serving

NUMBERS = [name for name in NUMPY_TYPES if name not in ("BYTES", "BOOL")]
ROWS: dict[str, np.ndarray] = {
    "age": np.array([41.0, np.nan]),
    "visits": np.array([2, 0]),
    "job": np.array(["clerk", "naïve"], object),
    "balance": np.array([1.5, 0.0]),
}


@pytest.fixture(scope="module")
def address(
    package_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    root = tmp_path_factory.mktemp("numbers")
    numbers = {name: doubling(root / name, np.dtype(NUMPY_TYPES[name]).name) for name in NUMBERS}
    with serving({"bank": package_dirs["trained"], **numbers}) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as client:
        yield client


def asked(client: Any, *, raw: bool = True, rows: dict[str, np.ndarray] = ROWS) -> list[Any]:
    """The bank's inputs as its metadata declares them."""
    inputs = []
    for put in client.get_model_metadata("bank")["inputs"]:
        data = rows[put["name"]]
        tensor = triton.InferInput(put["name"], list(data.shape), put["datatype"])
        tensor.set_data_from_numpy(data, binary_data=raw)
        inputs.append(tensor)
    return inputs


def values(name: str, array: np.ndarray, datatype: str, *, raw: bool = True) -> list[Any]:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=raw)
    return [tensor]


def test_rows_sent_raw_are_answered_raw_and_as_in_json(client: Any) -> None:
    raw = client.infer("bank", asked(client), request_id="mine")
    plain = client.infer(
        "bank",
        asked(client, raw=False, rows={**ROWS, "age": np.array([41.0, 30.0])}),
        outputs=[triton.InferRequestedOutput("probabilities", binary_data=False)],
    )

    outputs = {each["name"]: each for each in raw.get_response()["outputs"]}
    assert "binary_data_size" in outputs["probabilities"]["parameters"]
    assert "data" not in outputs["probabilities"]
    assert raw.get_response()["id"] == "mine"
    assert raw.as_numpy("label").tolist()[0] in (b"no", b"yes")
    assert raw.as_numpy("probabilities").shape == (2, 2)
    assert raw.as_numpy("probabilities")[0] == pytest.approx(
        plain.as_numpy("probabilities")[0], abs=1e-6
    )
    assert [each["name"] for each in plain.get_response()["outputs"]] == ["probabilities"]


def test_raw_and_json_mix_in_one_request_and_one_answer(client: Any) -> None:
    inputs = asked(client, rows={**ROWS, "age": np.array([41.0, 30.0])})
    inputs[0].set_data_from_numpy(np.array([41.0, 30.0]), binary_data=False)
    outputs = [
        triton.InferRequestedOutput("label", binary_data=False),
        triton.InferRequestedOutput("probabilities", binary_data=True),
    ]

    answer = client.infer("bank", inputs, outputs=outputs)

    outputs_by_name = {each["name"]: each for each in answer.get_response()["outputs"]}
    assert outputs_by_name["label"]["data"][0] in ("no", "yes")
    assert answer.as_numpy("probabilities").shape == (2, 2)


# FP16 has no form in JSON.
@pytest.mark.parametrize(
    ("datatype", "raw"),
    [(name, raw) for name in NUMBERS for raw in (True, False) if raw or name != "FP16"],
)
def test_every_number_type_arrives_as_it_was_sent(client: Any, datatype: str, raw: bool) -> None:
    array = np.array([[1, 2], [3, 4]], NUMPY_TYPES[datatype])

    answer = client.infer(datatype, values("values", array, datatype, raw=raw))

    assert answer.as_numpy("prediction").tolist() == [6, 14]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_bodies_may_be_compressed(client: Any, algorithm: str) -> None:
    many = {name: np.repeat(data[:1], 600) for name, data in ROWS.items()}

    answer = client.infer(
        "bank",
        asked(client, rows=many),
        request_compression_algorithm=algorithm,
        response_compression_algorithm="gzip",
    )

    assert answer.as_numpy("probabilities").shape == (600, 2)


def test_the_client_hears_in_words_what_was_wrong(client: Any) -> None:
    array = np.array([[1, 2]], np.float32)

    def said(model: str, name: str, datatype: str = "FP32", **more: Any) -> str:
        with pytest.raises(triton.InferenceServerException) as raised:
            client.infer(model, values(name, array, datatype), **more)
        return str(raised.value.message())

    assert "no input 'values'; the model needs values (FP64 [rows, 2])" in said("FP64", "v")
    assert "no model 'nobody' is served here" in said("nobody", "values")
    assert "no version 9 here, only 3" in said("FP64", "values", model_version="9")
    wanted = [triton.InferRequestedOutput("label")]
    assert "no 'label', only prediction" in said("FP64", "values", outputs=wanted)
    wanted = [triton.InferRequestedOutput("prediction", class_count=2)]
    assert "classification: this extension" in said("FP64", "values", outputs=wanted)
    assert "sequences are not served" in said("FP64", "values", sequence_id=3)


def test_what_the_server_says_of_itself_is_true(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("bank", "3")
    assert not client.is_model_ready("bank", "4")
    assert set(client.get_server_metadata()["extensions"]) == {
        "binary_tensor_data",
        "model_configuration",
        "model_repository",
        "statistics",
    }
    configured = client.get_model_config("FP32")
    assert configured["input"] == [{"name": "values", "data_type": "TYPE_FP32", "dims": [-1, 2]}]
    index = client.get_model_repository_index()
    assert {"name": "bank", "version": "3", "state": "READY", "reason": ""} in index
    with pytest.raises(triton.InferenceServerException, match="this extension is not served"):
        client.get_trace_settings()


def test_statistics_grow_by_what_was_asked(client: Any) -> None:
    def statistics() -> dict[str, Any]:
        return dict(client.get_inference_statistics("bank", "3")["model_stats"][0])

    before = statistics()
    client.infer("bank", asked(client, rows={n: d[:1] for n, d in ROWS.items()}))
    client.infer("bank", asked(client), model_version="3")
    after = statistics()

    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 2
    success = after["inference_stats"]["success"]
    assert success["count"] - before["inference_stats"]["success"]["count"] == 2
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert success["ns"] == sum(after["inference_stats"][part]["ns"] for part in parts)


def test_a_model_and_its_alias_are_one_address(client: Any) -> None:
    assert client.get_model_metadata("bank@champion")["name"] == "bank"
    assert client.infer("bank@champion", asked(client)).get_response()["model_version"] == "3"
    with pytest.raises(triton.InferenceServerException, match="nothing"):
        client.infer("bank@nothing", asked(client))


def test_a_model_is_loaded_and_unloaded_only_as_its_route_allows(client: Any) -> None:
    client.load_model("bank")
    with pytest.raises(triton.InferenceServerException, match="no model 'nobody'"):
        client.load_model("nobody")
    with pytest.raises(triton.InferenceServerException, match="comes from the registry"):
        client.load_model("bank", config="{}")
    with pytest.raises(triton.InferenceServerException, match="its route serves it"):
        client.unload_model("bank")


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        ({"content-encoding": "gzip"}, b"plain", "not what content-encoding says"),
        ({"content-encoding": "gzip"}, gzip.compress(b"{}", mtime=0)[:-4], "ends too early"),
        ({"content-encoding": "br"}, b"x", "send gzip, deflate or plain"),
        ({"content-encoding": "deflate"}, zlib.compress(b"[]"), "give a JSON object"),
        ({"inference-header-content-length": "x"}, b"{}", "the JSON's length in bytes"),
        ({"inference-header-content-length": "9"}, b"{}", "is 9, the body has 2 bytes"),
    ],
)
def test_a_body_that_is_not_what_its_headers_say_is_refused(
    address: str, headers: dict[str, str], body: bytes, says: str
) -> None:
    answer = httpx.post(
        f"http://{address}/v2/models/bank/infer", headers=headers, content=body, trust_env=False
    )

    assert answer.status_code in (400, 501)
    assert says in answer.json()["error"]


@pytest.mark.parametrize(
    ("entry", "tail", "says"),
    [
        ({"datatype": "FP64", "shape": [2]}, b"12345678", "is 16 bytes, 8 were sent"),
        ({"datatype": "BYTES", "shape": [2]}, b"\1\0\0\0a", "1 were found in 5 bytes"),
        ({"datatype": "BYTES", "shape": [1]}, b"\1\0\0\0\xff", "not UTF-8"),
        ({"datatype": "BYTES", "shape": [1]}, b"\xff\0\0\0a", "0 were found in 5 bytes"),
        ({"datatype": "FP64", "shape": [1], "data": [1]}, b"12345678", "not both"),
    ],
)
def test_raw_tensors_of_another_size_than_they_say_are_refused(
    address: str, entry: dict[str, Any], tail: bytes, says: str
) -> None:
    import orjson

    given = {"name": "age", **entry, "parameters": {"binary_data_size": len(tail)}}
    head = orjson.dumps({"inputs": [given]})

    answer = httpx.post(
        f"http://{address}/v2/models/bank/infer",
        headers={"inference-header-content-length": str(len(head))},
        content=head + tail,
        trust_env=False,
    )

    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_bytes_that_no_input_takes_are_refused(address: str) -> None:
    import orjson

    head = orjson.dumps(infer_body(ROW))
    answer = httpx.post(
        f"http://{address}/v2/models/bank/infer",
        headers={"inference-header-content-length": str(len(head))},
        content=head + b"1234",
        trust_env=False,
    )

    assert answer.status_code == 400
    assert "4 bytes of raw tensors follow the JSON" in answer.json()["error"]
