"""The staging process: one package, no bus, for whoever started it and until they let go.

What every package needs is imported before the package is known, so that a started process that
waits is a warm spare; scikit-learn and pandas only for a package that is served natively.
"""

import os
import secrets
import socket
import sys
import threading
from pathlib import Path
from typing import TextIO

import onnx  # noqa: F401 - a warm spare has loaded it
import onnxruntime  # noqa: F401 - a warm spare has loaded it
import uvicorn
import uvloop
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.events import Arm, RoutesChanged
from loopwright_common.observability.metrics import Metrics
from loopwright_common.process.subprocesses import take_stdout, write_answer
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_common.web.app import create_app
from loopwright_common.web.client_rates import ClientRates
from loopwright_common.web.guard import RequestGuard
from loopwright_common.web.hardened_http import server_config
from loopwright_common.web.request_limits import RequestLimits, RequestMemory
from loopwright_scorer.http_server.dispatcher import ProtocolRouter, refusing_as
from loopwright_scorer.http_server.fast_path import FastPathProtocol
from loopwright_scorer.http_server.protocols import http_protocols
from loopwright_scorer.inference.call_recorder import CallRecorder, CallStats
from loopwright_scorer.inference.executor import InferenceExecutor
from loopwright_scorer.inference.prediction_ids import PredictionIds
from loopwright_scorer.inference.service import InferenceService
from loopwright_scorer.isolated.limits import IsolationConfig, confined_already
from loopwright_scorer.models.loaded_model import LoadedModel, load
from loopwright_scorer.protocols.model_repository import ModelRepository
from loopwright_scorer.protocols.request import InferenceLimits
from loopwright_scorer.routing.routes import Route, Routes, assemble

_HOST = "127.0.0.1"
_LARGEST_BODY = 64 << 20
_MEMORY = 256 << 20
_RATE = 50_000.0
_QUEUE = 64


class StagingOrder(BaseModel):
    """The one line this process waits for."""

    model_config = ConfigDict(extra="forbid")
    package: Path
    model: str
    version: int = Field(ge=1)
    python: Path | None = None
    """What a package of other requirements runs on."""


def main(answers: TextIO, descriptor: int | None = None) -> int:
    """Read the order, serve until standard input closes; returns the exit status.

    On the socket of the descriptor, where there is one: a sandbox may let nobody make another.
    """
    line = sys.stdin.readline()
    if not line:
        return 0
    try:
        order = StagingOrder.model_validate_json(line)
        app = _app(order, answers)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the line"
        return _refuse(answers, f"{field}: {first['msg']}")
    except LoopwrightError as error:
        return _refuse(answers, str(error), transient=isinstance(error, UnavailableError))
    uvloop.run(_serve(app, answers, descriptor))
    return 0


def _app(order: StagingOrder, answers: TextIO) -> ProtocolRouter:
    directory = order.package.with_suffix(".isolated")
    isolation = (
        confined_already(directory, order.python) if order.python else IsolationConfig(directory)
    )
    routes = Routes()
    write_answer(answers, {"opening": _describe_file(order.package)})
    routes.install(fixed_route(order.model, order.version, load(order.package, "", isolation)))
    return create_staging_app(routes)


def _describe_file(package: Path) -> str:
    """For people, should it end this process; what is wrong with the spec is said by `load`."""
    try:
        spec = ServingSpec.model_validate_json((package / SPEC_FILE).read_bytes())
    except (OSError, ValidationError):
        return SPEC_FILE
    return f"{Path(spec.file).name} ({spec.isolated.loader if spec.isolated else spec.format})"


def fixed_route(name: str, version: int, loaded: LoadedModel) -> Route:
    """All traffic to one version."""
    arm = Arm(version=version, weight=1.0, digest=loaded.digest, format=loaded.spec.format)
    route = RoutesChanged(environment="", model_id=name, model=name, revision=0, arms=[arm])
    return assemble(route, {version: loaded})


def create_staging_app(routes: Routes) -> ProtocolRouter:
    """The inference protocols in front of routes that never change; nothing is recorded."""
    call_stats = CallStats(routes)
    ids = PredictionIds(secrets.token_bytes(32))
    inference_service = InferenceService(
        routes, ids, InferenceExecutor(_QUEUE), CallRecorder(routes, call_stats)
    )
    protocols = http_protocols(inference_service, _is_ready, call_stats, ModelRepository(routes))
    memory = RequestMemory(_MEMORY, "scorer")
    guard = RequestGuard(
        limits=RequestLimits(memory=memory),
        rates=ClientRates(_RATE),
        refuse=refusing_as(protocols),
    )
    limits = InferenceLimits(memory, _LARGEST_BODY, _LARGEST_BODY)
    app = create_app("staging scorer", Metrics(), {}, guard)
    return ProtocolRouter(protocols, app, limits, guard)


async def _is_ready() -> str | None:
    return None


class _Server(uvicorn.Server):
    """Says where it listens once it does, and ends with standard input."""

    def __init__(self, config: uvicorn.Config, answers: TextIO) -> None:
        super().__init__(config)
        self._answers = answers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        threading.Thread(target=self._wait_for_end, daemon=True).start()
        port = self.servers[0].sockets[0].getsockname()[1]
        write_answer(self._answers, {"url": f"http://{_HOST}:{port}"})

    def _wait_for_end(self) -> None:
        sys.stdin.read()
        self.should_exit = True


async def _serve(app: ProtocolRouter, answers: TextIO, descriptor: int | None) -> None:
    # uvicorn binds by itself: a socket made here would lack TCP_NODELAY, and answers take 40 ms.
    # Whoever made the one that is given has set it.
    config = server_config(app, FastPathProtocol.guarded_by(app.guard), host=_HOST, port=0)
    given = None if descriptor is None else [socket.socket(fileno=descriptor)]
    await _Server(config, answers).serve(given)


def _refuse(answers: TextIO, reason: str, *, transient: bool = False) -> int:
    """`transient` tells that the same order may be served later."""
    write_answer(answers, {"error": reason, "transient": transient})
    return 1


if __name__ == "__main__":
    # Tearing down the libraries takes time, and nobody waits for that.
    os._exit(main(take_stdout(), int(sys.argv[1]) if len(sys.argv) > 1 else None))
