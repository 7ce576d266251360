"""Builders: real git repositories, a running trainer, a registry that records."""

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopwright_common.bus.interface import EventBus
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.database import Database
from loopwright_common.process.service import Service
from loopwright_trainer.main import MIGRATIONS, assemble
from loopwright_trainer.settings import TrainerSettings
from loopwright_trainer.tracking.client import TrackingClient

PREPARE = (
    "from pathlib import Path\nPath('base.txt').write_text(Path('data.csv').read_text() * 2)\n"
)
TRAIN = """
import json, pathlib, yaml
rate = yaml.safe_load(open('params.yaml'))['train']['rate']
package = pathlib.Path('package'); package.mkdir()
(package / 'MLmodel').write_text('flavors: {}')
(package / 'weights').write_text(f"{rate} {open('base.txt').read()}")
json.dump({'loss': rate, 'slices': {'a': 1}}, open('metrics.json', 'w'))
"""
PIPELINE = """
model: toy
stages:
  prepare: {cmd: python prepare.py, deps: [prepare.py, data.csv], outs: [base.txt]}
  train:
    cmd: python train.py
    deps: [train.py, base.txt]
    params: [train.rate]
    outs: [package]
    metrics: [metrics.json]
register: {package: package}
"""
FILES = {
    "loopwright.yaml": PIPELINE,
    "params.yaml": "train: {rate: 0.5}\nother: 1\n",
    "data.csv": "1,2\n",
    "prepare.py": PREPARE,
    "train.py": TRAIN,
}


class Upstream:
    """A person's git repository."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def beside(self, name: str) -> Path:
        """A file that stages may write, and a test reads while they run."""
        return noted_directory(self.path.parent) / name

    def noted(self, name: str) -> str:
        """What stages wrote there so far."""
        path = self.beside(name)
        return path.read_text() if path.exists() else ""

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.path, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "Change") -> str:
        """Write the files (None removes one) and commit; returns the commit."""
        for name, content in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                target.unlink()
            else:
                target.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@dataclass
class RecordingRegistry:
    """Keeps what the trainer sends, and answers as the registry's MLflow API does."""

    experiments: dict[str, str] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    versions: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, tuple[str, int]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    bearers: list[str] = field(default_factory=list)
    lost_answers: int = 0
    away: bool = False

    def app(self) -> Starlette:
        artifacts = "/api/2.0/mlflow-artifacts/artifacts/{path:path}"
        return Starlette(
            routes=[
                Route("/api/2.0/mlflow/{place:path}", self._answer, methods=["GET", "POST"]),
                Route(artifacts, self._put, methods=["PUT"]),
                Route("/v1/runs/{run_id}/token", self._fence, methods=["PUT"]),
            ]
        )

    def tracking(self) -> TrackingClient:
        transport = httpx.ASGITransport(self.app())
        client = httpx.AsyncClient(transport=transport, base_url="http://registry")
        return TrackingClient(client, delays=(0.01, 0.01))

    async def _put(self, request: Request) -> Response:
        self.artifacts[request.path_params["path"]] = await request.body()
        return JSONResponse({})

    async def _fence(self, request: Request) -> Response:
        run_id, given = request.path_params["run_id"], await request.json()
        if given["attempt"] <= self.tokens.get(run_id, ("", 0))[1]:
            return JSONResponse({"detail": "there is a newer attempt"}, 409)
        self.tokens[run_id] = (given["sha256"], given["attempt"])
        return JSONResponse({})

    def _superseded(self, given: dict[str, Any], request: Request) -> bool:
        run_id = given.get("run_id")
        if request.method != "POST" or run_id not in self.tokens:
            return False
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hashlib.sha256(token.encode()).hexdigest() != self.tokens[run_id][0]

    async def _answer(self, request: Request) -> Response:
        if self.away:
            return JSONResponse({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "away"}, 503)
        given = await request.json() if request.method == "POST" else dict(request.query_params)
        name = request.path_params["place"].replace("/", "_").replace("-", "_")
        if bearer := request.headers.get("authorization"):
            self.bearers.append(bearer.removeprefix("Bearer "))
        if self._superseded(given, request):
            self.refused.append(name)
            text = f"run {given['run_id']} belongs to a newer attempt"
            return JSONResponse({"error_code": "PERMISSION_DENIED", "message": text}, 403)
        answer: Response = getattr(self, name)(given, request)
        return answer

    def experiments_get_by_name(self, given: dict[str, Any], _: Request) -> Response:
        name = given["experiment_name"]
        if name not in self.experiments:
            return JSONResponse({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": name}, 404)
        return JSONResponse({"experiment": {"experiment_id": self.experiments[name]}})

    def experiments_create(self, given: dict[str, Any], _: Request) -> Response:
        self.experiments[given["name"]] = str(len(self.experiments) + 1)
        return JSONResponse({"experiment_id": self.experiments[given["name"]]})

    def runs_create(self, given: dict[str, Any], _: Request) -> Response:
        run_id = f"{len(self.runs):032x}"
        info = {
            "run_id": run_id,
            "experiment_id": given["experiment_id"],
            "artifact_uri": f"mlflow-artifacts:/{given['experiment_id']}/{run_id}/artifacts",
            "status": "RUNNING",
        }
        self.runs[run_id] = {"info": info, "tags": {t["key"]: t["value"] for t in given["tags"]}}
        return JSONResponse({"run": {"info": info}})

    def runs_get(self, given: dict[str, Any], _: Request) -> Response:
        return JSONResponse({"run": {"info": self.runs[given["run_id"]]["info"]}})

    def runs_search(self, given: dict[str, Any], _: Request) -> Response:
        found = [
            run
            for run in self.runs.values()
            if any(given["filter"] == f"tags.`{k}` = '{v}'" for k, v in run["tags"].items())
        ]
        return JSONResponse({"runs": [{"info": run["info"]} for run in found]})

    def runs_log_batch(self, given: dict[str, Any], _: Request) -> Response:
        self.metrics |= {metric["key"]: metric["value"] for metric in given["metrics"]}
        return JSONResponse({})

    def runs_update(self, given: dict[str, Any], _: Request) -> Response:
        self.runs[given["run_id"]]["info"]["status"] = given["status"]
        return JSONResponse({})

    def registered_models_create(self, given: dict[str, Any], _: Request) -> Response:
        if self.versions:
            return JSONResponse(
                {"error_code": "RESOURCE_ALREADY_EXISTS", "message": given["name"]}, 400
            )
        return JSONResponse({})

    def model_versions_create(self, given: dict[str, Any], request: Request) -> Response:
        tags = {tag["key"]: tag["value"] for tag in given["tags"]}
        number = str(len(self.versions) + 1)
        cause = request.headers["loopwright-cause"]
        self.versions.append({**given, "tags": tags, "version": number, "cause": cause})
        if self.lost_answers:
            self.lost_answers -= 1
            return JSONResponse({}, 503)
        return JSONResponse({"model_version": {"version": number}})

    def model_versions_search(self, given: dict[str, Any], _: Request) -> Response:
        found = [
            version
            for version in self.versions
            if f"tags.`loopwright.run` = '{version['tags']['loopwright.run']}'" in given["filter"]
        ]
        return JSONResponse({"model_versions": found})


@dataclass
class TrainerHarness:
    """A trainer that runs its loops, seen through its API."""

    service: Service
    http: httpx.AsyncClient
    bus: EventBus
    database: Database
    directory: Path

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self.http.post(path, json=body)
        answer.raise_for_status()
        return answer.json()

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path)
        answer.raise_for_status()
        return answer.json()

    async def add(self, upstream: Upstream, name: str = "toy") -> Any:
        """Register the repository and wait for the run of its head."""
        await self.post("/v1/repositories", name=name, url=str(upstream.path))
        return await self.ended(upstream.git("rev-parse", "HEAD"))

    async def push(
        self, upstream: Upstream, files: Mapping[str, str | bytes | None], name: str = "toy"
    ) -> Any:
        """Commit, announce, and wait for the run."""
        commit = upstream.commit(files)
        await self.post(f"/v1/repositories/{name}/changed")
        return await self.ended(commit)

    async def ended(self, commit: str | None = None, run_id: str | None = None) -> Any:
        """The newest run (of a commit) in full, once it has ended."""
        async with asyncio.timeout(240):
            while True:
                for run in (await self.get("/v1/runs"))["items"]:
                    wanted = run["id"] == run_id if run_id else commit in (None, run["commit"])
                    if wanted and run["finished_at"]:
                        return await self.get(f"/v1/runs/{run['id']}")
                await asyncio.sleep(0.01)


async def until(claim: Callable[[], Awaitable[bool]], seconds: float = 240) -> None:
    """Wait until the claim holds."""
    async with asyncio.timeout(seconds):
        while True:
            if await claim():
                return
            await asyncio.sleep(0.01)


def stages(run: Any) -> dict[str, str]:
    """Outcome by stage."""
    return {stage["name"]: stage["outcome"] for stage in run["stages"]}


def why(run: Any, stage: str) -> str:
    return next(str(row["why"]) for row in run["stages"] if row["name"] == stage)


def settings_for(tmp_path: Path, **given: Any) -> TrainerSettings:
    usual: dict[str, Any] = {
        "database_url": f"sqlite:///{tmp_path / 'databases'}",
        "artifacts_url": f"file://{tmp_path / 'artifacts'}",
        "directory": tmp_path / "trainer",
        "poll_seconds": 3600,
        "stage_writable": str(noted_directory(tmp_path)),
        "local_repositories": str(tmp_path),
    }
    return TrainerSettings(**usual | given)


def noted_directory(tmp_path: Path) -> Path:
    """One that stages may write, whatever user they run as."""
    directory = tmp_path.resolve() / "noted"
    directory.mkdir(exist_ok=True)
    directory.chmod(0o777)
    return directory


@asynccontextmanager
async def running(
    tmp_path: Path,
    bus: EventBus,
    registry: RecordingRegistry,
    *,
    working: bool = True,
    **given: Any,
) -> AsyncGenerator[TrainerHarness, None]:
    settings = settings_for(tmp_path, **given)
    database = await Database.open(settings.database_url, "trainer", MIGRATIONS)
    service = assemble(settings, bus, database, registry.tracking())
    transport = httpx.ASGITransport(service.app)
    loops = [asyncio.ensure_future(loop()) for loop in service.loops if working]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        try:
            yield TrainerHarness(service, http, bus, database, settings.work_directory)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await database.close()


async def events(bus: SqliteBus, topic: str, count: int = 1) -> list[dict[str, Any]]:
    """Payloads of a topic in order, once the relay has published so many; a repeat is none."""
    import json

    found: dict[str, dict[str, Any]] = {}

    async def are_there() -> bool:
        for record in await bus.read([topic], 0, 1000):
            found.setdefault(record.headers["ce_id"], json.loads(record.value))
        return len(found) >= count

    await until(are_there)
    return list(found.values())
