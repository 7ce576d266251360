"""The servers: how each is started with one worker, as its documentation has it for production.

No access logs and single-threaded mathematics everywhere. MLServer runs with `parallel_workers` 0,
faster than its usual 1, which is `mlserver-parallel`; LitServe with its plain queue, and with the
other as `litserve-queue`: neither of those two is the faster in every case.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.scoring import loopwright
from benchmarks.scoring.models import Model
from benchmarks.scoring.protocols import MLFLOW, SIMPLE, Spoken, open_inference

_SERVICES = Path(__file__).parent / "services"
_SCIKIT = ("scikit-learn==1.9.1",)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is started: environment, new directory, event bus, its port and two more."""

    environment: Path
    directory: Path
    bus: str
    port: int
    more_ports: tuple[int, int]

    def program(self, name: str) -> str:
        return str(self.environment / "bin" / name)


@dataclass(frozen=True, slots=True)
class Command:
    arguments: list[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """`packages` are of its own environment, or the one it `shares`; none: the project's."""

    command: Callable[[Model, Place], Command]
    spoken: Spoken
    packages: tuple[str, ...] = ()
    shares: str | None = None
    on_kafka: bool = False


def _floor(model: Model, place: Place) -> Command:
    service = str(_SERVICES / "floor.py")
    return Command([sys.executable, service, str(place.port), str(model.serving)])


def _mlserver(parallel_workers: int) -> Callable[[Model, Place], Command]:
    def command(model: Model, place: Place) -> Command:
        settings = {
            "debug": False,
            "host": "127.0.0.1",
            "http_port": place.port,
            "grpc_port": place.more_ports[0],
            "metrics_port": place.more_ports[1],
            "parallel_workers": parallel_workers,
        }
        served = {
            "name": model.name,
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(model.pickled)},
        }
        (place.directory / "settings.json").write_text(json.dumps(settings))
        (place.directory / "model-settings.json").write_text(json.dumps(served))
        return Command([place.program("mlserver"), "start", str(place.directory)])

    return command


def _mlflow(model: Model, place: Place) -> Command:
    given = ["--model-uri", str(model.package), "--port", str(place.port)]
    given += ["--host", "127.0.0.1", "--workers", "1", "--env-manager", "local"]
    # Its uvicorn takes options from the environment, and is found on the path.
    variables = {"UVICORN_ACCESS_LOG": "false", "UVICORN_LOG_LEVEL": "warning"}
    return Command(
        [place.program("mlflow"), "models", "serve", *given],
        {**variables, "PATH": f"{place.environment / 'bin'}:{os.environ['PATH']}"},
    )


def _bentoml(model: Model, place: Place) -> Command:
    service = "Columns" if model.tabular else "Numbers"
    given = [f"bentoml_service:{service}", "--working-dir", str(_SERVICES)]
    given += ["--host", "127.0.0.1", "--port", str(place.port)]
    options = "api_server.logging.access.enabled=false"
    return Command(
        [place.program("bentoml"), "serve", *given],
        {
            "MODEL": str(model.pickled),
            "BENTOML_HOME": str(place.directory),
            "BENTOML_CONFIG_OPTIONS": options,
            "BENTOML_DO_NOT_TRACK": "true",
        },
    )


def _litserve(*options: str) -> Callable[[Model, Place], Command]:
    def command(model: Model, place: Place) -> Command:
        service = str(_SERVICES / "litserve_service.py")
        return Command(
            [place.program("python"), service, str(place.port), *options],
            {"MODEL": str(model.pickled)},
        )

    return command


def _kserve(model: Model, place: Place) -> Command:
    given = ["--model_name", model.name, "--http_port", str(place.port)]
    given += ["--enable_latency_logging", "false", "--configure_logging", "false"]
    service = str(_SERVICES / "kserve_service.py")
    return Command(
        [place.program("python"), service, *given],
        {"MODEL": str(model.pickled)},
    )


def _loopwright(*, recorded: bool = True, workers: int = 1) -> Callable[[Model, Place], Command]:
    def command(model: Model, place: Place) -> Command:
        arguments, variables = loopwright.prepare(
            model, place.directory, place.port, place.bus, recorded=recorded
        )
        return Command(arguments, {**variables, "LOOPWRIGHT_SCORER_WORKERS": str(workers)})

    return command


_V2 = open_inference(has_binary=True)
_MLSERVER = open_inference(["predict_proba"], content_types=True)
# Its parallel worker does not start with the newest uvloop.
_MLSERVER_PACKAGES = (
    "mlserver==1.7.1",
    "mlserver-sklearn==1.7.1",
    "uvloop==0.21.0",
    "pandas==3.1.1",
    *_SCIKIT,
)
_LITSERVE_PACKAGES = ("litserve==0.2.19", "pandas==3.1.1", *_SCIKIT)
FLOOR, LOOPWRIGHT = "floor", "loopwright"

SERVERS: dict[str, Server] = {
    LOOPWRIGHT: Server(_loopwright(), _V2),
    "loopwright-unrecorded": Server(_loopwright(recorded=False), _V2),
    # Several workers need a bus that processes can share, so their measure is one worker on it.
    "loopwright-kafka": Server(_loopwright(), _V2, on_kafka=True),
    "loopwright-kafka-unrecorded": Server(_loopwright(recorded=False), _V2, on_kafka=True),
    "loopwright-kafka-two": Server(_loopwright(workers=2), _V2, on_kafka=True),
    FLOOR: Server(_floor, _V2),
    "mlserver": Server(_mlserver(0), _MLSERVER, _MLSERVER_PACKAGES),
    "mlserver-parallel": Server(_mlserver(1), _MLSERVER, _MLSERVER_PACKAGES, shares="mlserver"),
    "mlflow": Server(
        _mlflow,
        MLFLOW,
        ("mlflow==3.17.2", "skops==0.16.0", "pandas==3.1.1", "uvicorn[standard]==0.54.0", *_SCIKIT),
    ),
    "bentoml": Server(
        _bentoml,
        SIMPLE,
        ("bentoml==1.4.39", "uvicorn[standard]==0.54.0", "pandas==3.1.1", *_SCIKIT),
    ),
    "litserve": Server(_litserve(), SIMPLE, _LITSERVE_PACKAGES),
    "litserve-queue": Server(
        _litserve("--fast-queue"), SIMPLE, _LITSERVE_PACKAGES, shares="litserve"
    ),
    "kserve": Server(
        _kserve,
        open_inference(content_types=True, has_binary=True),
        ("kserve==0.21.0", *_SCIKIT),
    ),
}
USUAL = (LOOPWRIGHT, FLOOR, "mlserver", "mlflow", "bentoml", "litserve", "kserve")
