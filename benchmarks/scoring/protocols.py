"""How each server is asked, and how its answer is read: always all class probabilities."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from benchmarks.scoring.models import Model

_JSON_LENGTH = "inference-header-content-length"
_TENSOR = "input"
Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    path: str
    headers: Headers
    body: bytes

    def raw(self, port: int) -> bytes:
        """The whole HTTP request."""
        lines = [f"POST {self.path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


@dataclass(frozen=True, slots=True)
class Spoken:
    """A protocol: `ask(model, rows, binary)`, and `read(headers, body)` to probabilities [n, 2]."""

    ask: Callable[[Model, Any, bool], Question]
    read: Callable[[Headers, bytes], np.ndarray]
    has_binary: bool = False


def open_inference(
    outputs: Sequence[str] = (), *, content_types: bool = False, has_binary: bool = False
) -> Spoken:
    """V2; `content_types`: columns are marked as a frame, as MLServer and KServe want it."""

    def ask(model: Model, rows: Any, binary: bool) -> Question:
        message: dict[str, Any] = {"inputs": []}
        tail = b""
        for entry, array in _tensors(model, rows):
            if binary:
                content = _raw(array)
                entry["parameters"] = {"binary_data_size": len(content)}
                tail += content
            else:
                entry["data"] = array.ravel().tolist()
            message["inputs"].append(entry)
        if outputs:
            message["outputs"] = [{"name": name} for name in outputs]
        parameters: dict[str, Any] = {"binary_data_output": True} if binary else {}
        if content_types and model.tabular:
            parameters["content_type"] = "pd"
        if parameters:
            message["parameters"] = parameters
        return _v2(model, orjson.dumps(message), tail if binary else None)

    return Spoken(ask, _read_v2, has_binary)


def _v2(model: Model, head: bytes, tail: bytes | None) -> Question:
    path = f"/v2/models/{model.name}/infer"
    if tail is None:
        return Question(path, {"Content-Type": "application/json"}, head)
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return Question(path, headers, head + tail)


def _tensors(model: Model, rows: Any) -> list[tuple[dict[str, Any], np.ndarray]]:
    if not model.tabular:
        shape = list(rows.shape)
        return [({"name": _TENSOR, "datatype": "FP64", "shape": shape}, rows)]
    tensors = []
    for name in rows.columns:
        array = rows[name].to_numpy()
        is_text = array.dtype.kind not in "if"
        datatype = "BYTES" if is_text else {"f": "FP64", "i": "INT64"}[array.dtype.kind]
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(array)]}
        tensors.append((entry, array.astype(object) if is_text else array))
    return tensors


def _raw(array: np.ndarray) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    texts = [str(value).encode() for value in array]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _read_v2(headers: Headers, body: bytes) -> np.ndarray:
    length = int(headers.get(_JSON_LENGTH, len(body)))
    at = length
    for output in orjson.loads(body[:length])["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if output["datatype"] in ("FP32", "FP64") and output["shape"][-1] == 2:
            if size is None:
                return np.array(output["data"], np.float64).reshape(output["shape"])
            dtype = "<f4" if output["datatype"] == "FP32" else "<f8"
            values = np.frombuffer(body[at : at + size], dtype)
            return values.astype(np.float64).reshape(output["shape"])
        at += size or 0
    raise SystemExit(f"no output has two probabilities a row: {body[:500]!r}")


def _ask_mlflow(model: Model, rows: Any, _binary: bool) -> Question:
    if model.tabular:
        split = {"columns": rows.columns.tolist(), "data": rows.to_numpy().tolist()}
        message: dict[str, Any] = {"dataframe_split": split}
    else:
        message = {"inputs": rows.tolist()}
    return _posted("/invocations", message)


def _ask_simple(model: Model, rows: Any, _binary: bool) -> Question:
    given = {name: rows[name].tolist() for name in rows} if model.tabular else rows.tolist()
    return _posted("/predict", {"rows": given})


def _posted(path: str, message: dict[str, Any]) -> Question:
    return Question(path, {"Content-Type": "application/json"}, orjson.dumps(message))


def _read_member(name: str) -> Callable[[Headers, bytes], np.ndarray]:
    def read(_headers: Headers, body: bytes) -> np.ndarray:
        answer = orjson.loads(body)
        return np.array(answer[name] if isinstance(answer, dict) else answer, np.float64)

    return read


MLFLOW = Spoken(_ask_mlflow, _read_member("predictions"))
SIMPLE = Spoken(_ask_simple, _read_member("probabilities"))
"""The rows under `rows`, by column or as a matrix: what the usual few-line service takes."""
