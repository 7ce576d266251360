"""A staging scorer over HTTP, as any client of the Open Inference Protocol would call it."""

import json
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from loopwright_common.errors import InvalidError

Values = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class ScorerMetadata:
    """The model's metadata: datatype and shape by input name, classes of a classifier."""

    inputs: dict[str, tuple[str, list[int]]]
    outputs: dict[str, tuple[str, list[int]]]
    classes: list[Any] | None


@dataclass(frozen=True, slots=True)
class ScorerResponse:
    """An answer of the scorer after `seconds`; `outputs` is empty unless `status` is 200."""

    status: int
    seconds: float
    outputs: dict[str, list[Any]] = field(default_factory=dict)
    error: str | None = None

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One output as [n] or [n, k] of floats; null becomes NaN."""
        return np.array(self.outputs[name], dtype=np.float64)


class ScorerClient:
    """A blocking client of one served version; use it in a thread."""

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._path = f"/v2/models/{quote(model, safe='')}"
        self.metadata = ScorerMetadata({}, {}, None)

    def __enter__(self) -> Self:
        """Read the version's metadata; `httpx.HTTPError` where the scorer does not give it."""
        self._http = httpx.Client(base_url=self._url, timeout=30.0, trust_env=False)
        self.metadata = self._describe()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def infer(self, values: Values, datatypes: dict[str, str] | None = None) -> ScorerResponse:
        """Score rows given by input name; a column's datatype may be given wrongly on purpose."""
        body = json.dumps({"inputs": [self._input(n, v, datatypes) for n, v in values.items()]})
        started = time.perf_counter()
        response = self._http.post(f"{self._path}/infer", content=body.encode())
        seconds = time.perf_counter() - started
        try:
            content = response.json()
        except ValueError:
            return ScorerResponse(response.status_code, seconds, error=response.text[:200])
        if response.status_code != httpx.codes.OK:
            return ScorerResponse(response.status_code, seconds, error=content.get("error"))
        outputs = {one["name"]: _rows_of(one) for one in content["outputs"]}
        return ScorerResponse(response.status_code, seconds, outputs)

    def score(self, values: Values, batch: int = 500) -> dict[str, NDArray[Any]]:
        """All rows in batches; InvalidError when one is refused."""
        count = len(next(iter(values.values())))
        parts: dict[str, list[Any]] = {}
        for start in range(0, count, batch):
            answer = self.infer({n: v[start : start + batch] for n, v in values.items()})
            if answer.status != httpx.codes.OK:
                raise InvalidError(f"the scorer answered {answer.status}: {answer.error}")
            for name, rows in answer.outputs.items():
                parts.setdefault(name, []).extend(rows)
        return {name: np.array(rows) for name, rows in parts.items()}

    def _describe(self) -> ScorerMetadata:
        answer = self._http.get(self._path)
        answer.raise_for_status()
        content = answer.json()
        classes = (content.get("parameters") or {}).get("classes")
        return ScorerMetadata(
            {one["name"]: (one["datatype"], one["shape"]) for one in content["inputs"]},
            {one["name"]: (one["datatype"], one["shape"]) for one in content["outputs"]},
            json.loads(classes) if isinstance(classes, str) else classes,
        )

    def _input(
        self, name: str, values: list[Any], datatypes: dict[str, str] | None
    ) -> dict[str, Any]:
        datatype, shape = self.metadata.inputs.get(name, ("BYTES", [-1]))
        return {
            "name": name,
            "datatype": (datatypes or {}).get(name, datatype),
            "shape": [len(values), *(np.shape(values[0]) if -1 in shape[1:] else shape[1:])],
            "data": values,
        }


def _rows_of(output: dict[str, Any]) -> list[Any]:
    """Data may come nested or flat, row-major; here it is one entry per row."""
    shape, data = output["shape"], output["data"]
    if len(shape) < 2 or (data and isinstance(data[0], list)):
        return list(data)
    width = shape[1]
    return [data[i : i + width] for i in range(0, len(data), width)]
