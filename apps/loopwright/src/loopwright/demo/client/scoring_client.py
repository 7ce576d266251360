"""Calls to the scorer: predictions, version 1's answers to the same rows, and feedback."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from loopwright.client import complaint
from loopwright_common.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class ScoredCalls:
    """Who answered a request, under which id, and the probability of yes per row."""

    version: int
    prediction_id: str
    probability: npt.NDArray[np.float64]


@dataclass(slots=True)
class ScoringClient:
    """One model's scoring API over kept-alive connections."""

    http: httpx.AsyncClient
    url: str
    model: str

    async def predict(
        self, request: Mapping[str, object], *, key: str | None = None, version: int | None = None
    ) -> ScoredCalls:
        """Score rows by the route, or by one version; UnavailableError when it will not."""
        path = f"/versions/{version}" if version else ""
        headers = {"loopwright-routing-key": key} if key else {}
        response = await self._post(f"/v2/models/{self.model}{path}/infer", request, headers)
        body = response.json()
        return ScoredCalls(
            int(body["model_version"]),
            response.headers["loopwright-prediction-id"],
            probabilities_of_yes(body["outputs"]),
        )

    async def send_feedback(self, ids: list[str], labels: list[str]) -> None:
        """Send outcomes; UnavailableError when one of the ids is not known."""
        body = {"model": self.model, "ids": ids, "labels": labels, "id_kind": "prediction"}
        response = (await self._post("/v1/feedback", body, {})).json()
        if response["unknown"]:
            raise UnavailableError(f"the scorer does not know its own {response['unknown'][0]}")

    async def _post(
        self, path: str, body: Mapping[str, object], headers: Mapping[str, str]
    ) -> httpx.Response:
        response = await self.http.post(self.url + path, json=body, headers=headers)
        if response.is_error:
            raise UnavailableError(complaint("scorer", response))
        return response


def probabilities_of_yes(outputs: list[dict[str, Any]]) -> npt.NDArray[np.float64]:
    """The last class's probability per row: `yes` comes after `no`."""
    found = next(output for output in outputs if output["name"] == "probabilities")
    return np.asarray(found["data"], np.float64).reshape(found["shape"])[:, -1]
