"""The floor: a bare ASGI app and ONNX Runtime, doing V2's JSON or binary tensors and no more.

python floor.py PORT SERVING_PACKAGE
"""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
import uvicorn

_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(string)": object}
_SENT = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8"}
_LENGTH = b"inference-header-content-length"


class Floor:
    def __init__(self, package: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(package / "model.onnx", options)
        matrices = orjson.loads((package / "loopwright.json").read_bytes()).get("matrices", {})
        self._inputs = [
            (put.name, matrices.get(put.name, [put.name]), _TYPES[put.type], [-1, *put.shape[1:]])
            for put in self._session.get_inputs()
        ]

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        length = next((int(value) for name, value in scope["headers"] if name == _LENGTH), None)
        label, probabilities = self._session.run(None, self._read(body, length))
        if length is None:
            head, tail = _json(label, probabilities), b""
            headers = [(b"content-type", b"application/json")]
        else:
            head, tail = _binary(label, probabilities)
            headers = [(_LENGTH, b"%d" % len(head))]
        headers.append((b"content-length", b"%d" % (len(head) + len(tail))))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": head + tail})

    def _read(self, body: bytes, length: int | None) -> dict[str, np.ndarray]:
        at = len(body) if length is None else length
        given = {}
        for put in orjson.loads(body[:at])["inputs"]:
            if length is None:
                given[put["name"]] = put["data"]
            else:
                size = put["parameters"]["binary_data_size"]
                given[put["name"]] = _unpacked(put["datatype"], body[at : at + size])
                at += size
        return {
            name: np.array([given[column] for column in columns], dtype).T.reshape(shape)
            for name, columns, dtype, shape in self._inputs
        }


def _unpacked(datatype: str, raw: bytes) -> np.ndarray:
    if datatype != "BYTES":
        return np.frombuffer(raw, _SENT[datatype])
    texts, at = [], 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        texts.append(raw[at + 4 : end].decode())
        at = end
    return np.array(texts, object)


def _outputs(label: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
    datatype = "BYTES" if label.dtype == object else "INT64"
    return [
        {"name": "label", "datatype": datatype, "shape": label.shape},
        {"name": "probabilities", "datatype": "FP32", "shape": probabilities.shape},
    ]


def _json(label: np.ndarray, probabilities: np.ndarray) -> bytes:
    outputs = _outputs(label, probabilities)
    outputs[0]["data"] = label.tolist()
    outputs[1]["data"] = probabilities.ravel()
    return orjson.dumps({"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)


def _binary(label: np.ndarray, probabilities: np.ndarray) -> tuple[bytes, bytes]:
    outputs = _outputs(label, probabilities)
    if label.dtype == object:
        texts = [text.encode() for text in label.tolist()]
        first = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    else:
        first = label.tobytes()
    second = probabilities.tobytes()
    outputs[0]["parameters"] = {"binary_data_size": len(first)}
    outputs[1]["parameters"] = {"binary_data_size": len(second)}
    return orjson.dumps({"outputs": outputs}), first + second


if __name__ == "__main__":
    app = Floor(Path(sys.argv[2]))
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        lifespan="off",
    )
