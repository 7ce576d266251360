"""A small client of the registry's MLflow REST API."""

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from starlette.applications import Starlette

from loopwright_common.errors import ConflictError, NotFoundError
from loopwright_trainer.tracking.registry_proxy import create_registry_proxy
from loopwright_trainer.tracking.retrying_client import DELAYS, Body, RetryingClient

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_SCHEME = "mlflow-artifacts:/"
_MAX_METRICS, _MAX_TAGS = 1000, 100


@dataclass(frozen=True, slots=True)
class TrackingRun:
    """A tracking run and where its artifacts go."""

    id: str
    experiment_id: str
    artifact_root: str


class TrackingClient:
    """What the trainer asks of the registry; errors as of `RetryingClient`."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        delays: tuple[float, ...] = DELAYS,
        token: str | None = None,
    ) -> None:
        """`delays` in seconds, as of `RetryingClient`; `token` is a run's own."""
        self._client = client
        self._registry = RetryingClient(client, delays, token)
        self.delays = delays
        self.token = token

    def proxy(self, run_id: str, password: str) -> Starlette:
        """The registry as a stage of this run may use it, which the client's token is for.

        Only for who shows `password`.
        """
        return create_registry_proxy(self._client, self.token, run_id, password)

    def without_retries(self) -> "TrackingClient":
        """The same registry, asked once."""
        return TrackingClient(self._client, (), self.token)

    async def fenced(self, run_id: str, attempt: int) -> "TrackingClient":
        """The same registry for this attempt of a run: earlier attempts can write no more.

        RefusedError when a later attempt did the same before.
        """
        token = secrets.token_urlsafe(32)
        digest = hashlib.sha256(token.encode()).hexdigest()
        body = {"sha256": digest, "attempt": attempt}
        proving = TrackingClient(self._client, self.delays, token)
        try:
            await self._registry.send("PUT", f"/v1/runs/{run_id}/token", json=body)
        except ConflictError:
            # Where only the response got lost, the token holds.
            await proving._post("runs/log-batch", run_id=run_id, metrics=[])
        return proving

    async def ensure_experiment(self, name: str) -> str:
        """The id of the experiment, made if there is none."""
        try:
            answer = await self._get("experiments/get-by-name", experiment_name=name)
        except NotFoundError:
            try:
                made = await self._post("experiments/create", name=name)
            except ConflictError:
                return await self.ensure_experiment(name)
            return str(made["experiment_id"])
        return str(answer["experiment"]["experiment_id"])

    async def create_run(
        self, experiment_id: str, name: str, tags: Mapping[str, str]
    ) -> TrackingRun:
        made = await self._post(
            "runs/create",
            experiment_id=experiment_id,
            run_name=name,
            user_id="loopwright",
            start_time=_milliseconds(),
            tags=_pairs(tags),
        )
        return _tracking_run(made["run"])

    async def find_run(self, experiment_id: str, tag: str, value: str) -> TrackingRun | None:
        """A run of the experiment with this value of the tag."""
        answer = await self._post(
            "runs/search",
            experiment_ids=[experiment_id],
            filter=f"tags.`{tag}` = '{value}'",
            max_results=1,
        )
        runs = answer.get("runs", [])
        return _tracking_run(runs[0]) if runs else None

    async def get_run(self, run_id: str) -> TrackingRun:
        return _tracking_run((await self._get("runs/get", run_id=run_id))["run"])

    async def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Log a point of each, at step 0 and now."""
        timestamp = _milliseconds()
        points = [
            {"key": name, "value": value, "timestamp": timestamp, "step": 0}
            for name, value in metrics.items()
        ]
        for first in range(0, len(points), _MAX_METRICS):
            batch = points[first : first + _MAX_METRICS]
            await self._post("runs/log-batch", run_id=run_id, metrics=batch)

    async def end_run(self, run_id: str, status: str) -> None:
        """`status` is FINISHED, FAILED or KILLED."""
        await self._post("runs/update", run_id=run_id, status=status, end_time=_milliseconds())

    async def upload(self, run: TrackingRun, path: str, size: int, body: Body) -> None:
        """Put `size` bytes at `path` of the run's artifacts."""
        path = quote(f"{run.artifact_root.removeprefix(_SCHEME).strip('/')}/{path}")
        headers = {"content-length": str(size), "content-type": "application/octet-stream"}
        await self._registry.send("PUT", f"{_ARTIFACTS}/{path}", body=body, headers=headers)

    async def ensure_model(self, name: str) -> None:
        try:
            await self._post("registered-models/create", name=name)
        except ConflictError:
            return

    async def create_version(
        self,
        name: str,
        source: str,
        run_id: str,
        tags: Mapping[str, str],
        cause: str,
    ) -> int:
        """Tried once: whoever repeats it looks for the version first."""
        body = {"name": name, "source": source, "run_id": run_id, "tags": _pairs(tags)}
        made = await self._registry.send_once(
            "POST", f"{_API}/model-versions/create", json=body, headers={"loopwright-cause": cause}
        )
        return int(made["model_version"]["version"])

    async def find_version(self, name: str, tag: str, value: str) -> int | None:
        """The number of the version of `name` with this tag."""
        answer = await self._get(
            "model-versions/search",
            filter=f"name = '{name}' AND tags.`{tag}` = '{value}'",
            max_results=1,
        )
        versions = answer.get("model_versions", [])
        return int(versions[0]["version"]) if versions else None

    async def _get(self, path: str, **query: str | int) -> dict[str, Any]:
        return await self._registry.send("GET", f"{_API}/{path}", params=query)

    async def _post(self, path: str, **body: object) -> dict[str, Any]:
        return await self._registry.send("POST", f"{_API}/{path}", json=body)


def _tracking_run(run: Mapping[str, Any]) -> TrackingRun:
    info = run["info"]
    return TrackingRun(info["run_id"], str(info["experiment_id"]), info["artifact_uri"])


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _milliseconds() -> int:
    return int(time.time() * 1000)
