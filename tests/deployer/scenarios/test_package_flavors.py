"""Every kind of package, from an unmodified mlflow client to an answer or to the reason why not."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopwright.ports import free_port
from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.process import runtime
from loopwright_common.process.service import Service
from loopwright_deployer.main import build as build_deployer
from loopwright_deployer.packaging.isolated import GRANT
from loopwright_deployer.settings import DeployerSettings
from loopwright_registry.main import build as build_registry
from loopwright_registry.settings import RegistrySettings
from loopwright_scorer.main import build as build_scorer
from loopwright_scorer.settings import ScorerSettings

# All is done by the first test's fixture, which is worth doing once.
pytestmark = [pytest.mark.timeout(900)]

CLIENT = Path(__file__).with_name("mlflow_flavors.py")
GRANTED = "pickle,labels-only,function,tone"
ROWS = {
    "a": ("FP64", [-1.0, 1.0]),
    "b": ("FP64", [0.0, 0.0]),
    "job": ("BYTES", ["clerk", "nurse"]),
    "score": ("FP64", [1.0, 9.0]),
    "seconds": ("FP64", [0.0, 99.0]),
    "pages": ("INT64", [3, 3]),
}
FINAL = ("promoted", "rejected", "paused", "rolled-back")
SERVED: dict[str, tuple[str, dict[str, Any]]] = {
    "pickle": ("isolated", {"label": ["no", "yes"], "probabilities": 4}),
    "labels-only": ("isolated", {"label": ["no", "yes"]}),
    "function": ("isolated", {"prediction": [9.0, 20.0, 11.0, 20.0]}),
    "tone": ("isolated", {"label": ["calm", "angry"], "probabilities": [0.9, 0.1, 0.1, 0.9]}),
    "clicks": ("isolated", {"label": [False, True], "probabilities": 4}),
    "several": ("onnx", {"prediction": [-2.0, -1.0, 2.0, -1.0]}),
    "xgboost": ("xgboost", {"label": [0, 1], "probabilities": 4}),
    "lightgbm": ("lightgbm", {"label": [0, 1], "probabilities": 4}),
}
"""The serving format, and what two rows are answered: the data, or how many figures."""
REFUSED = {
    "ungranted-pickle": ["scikit-learn as a pickle", "serialization_format='skops'", GRANT],
    "ungranted-function": ["a Python function as a pickle", "mlflow.onnx", GRANT],
    "keras": ["Keras layers can carry code", "mlflow.onnx", GRANT],
}


@dataclass
class Outcomes:
    """By model: how its deployment ended, what form is served, and what was answered."""

    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: str = ""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return asyncio.run(everything(tmp_path_factory.mktemp("kinds")))


async def everything(directory: Path) -> Outcomes:
    """Register all with one client while the services run, and ask what came of it."""
    found = Outcomes()
    async with running(directory) as (registry, deployer, scorer):
        await run(directory, str(CLIENT), url_of(registry))
        async with httpx.AsyncClient() as http:
            for name in (*SERVED, *REFUSED):
                found.deployments[name] = await ended(http, url_of(deployer), name)
            served = (await http.get(f"{url_of(scorer)}/v1/models")).json()["items"]
            found.forms = {one["model"]: one["arms"][0]["format"] for one in served}
            for name in SERVED:
                found.answers[name] = await asked(http, url_of(scorer), name)
        show = ("-m", "loopwright", "deployments", "show", "keras/1")
        found.shown = await run(directory, *show, LOOPWRIGHT_URL_DEPLOYER=url_of(deployer))
    return found


async def ended(http: httpx.AsyncClient, url: str, model: str) -> dict[str, Any]:
    """The model's one deployment, at its end or where it waits for a person."""
    while True:
        listed = await http.get(f"{url}/v1/deployments", params={"model": model})
        for found in listed.json()["items"]:
            if found["state"] in FINAL:
                return dict(found)
        await asyncio.sleep(0.1)


async def asked(http: httpx.AsyncClient, url: str, model: str) -> dict[str, Any]:
    """The outputs for two rows by name."""
    path = f"{url}/v2/models/{model}"
    wanted = {put["name"] for put in (await http.get(path)).json()["inputs"]}
    inputs = [
        {"name": name, "datatype": datatype, "shape": [2], "data": data}
        for name, (datatype, data) in ROWS.items()
        if name in wanted
    ]
    answer = await http.post(f"{path}/infer", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    return {put["name"]: put["data"] for put in answer.json()["outputs"]}


def url_of(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"


@asynccontextmanager
async def running(directory: Path) -> AsyncGenerator[tuple[Service, Service, Service], None]:
    """Registry, deployer and scorer on one log and one store, on ports of their own."""
    urls: dict[str, Any] = {
        "database_url": f"sqlite:///{directory / 'databases'}",
        "artifacts_url": f"file://{directory / 'artifacts'}",
    }
    deploying = DeployerSettings(
        port=free_port(), work_dir=directory / "work", pickle_models=GRANTED, **urls
    )
    scoring = ScorerSettings(port=free_port(), grpc_port=0, cache_dir=directory / "cache", **urls)
    stop, started = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        bus = await SqliteBus.open(directory / "bus")
        stack.push_async_callback(bus.close)
        services = (
            await build_registry(RegistrySettings(port=free_port(), **urls), bus, stack),
            await build_deployer(deploying, bus, stack),
            await build_scorer(scoring, bus, stack),
        )
        serving = asyncio.create_task(runtime.run_until(stop, services, started.set))
        await started.wait()
        yield services
        stop.set()
        await serving


async def run(directory: Path, *command: str, **more: str) -> str:
    environment = {**os.environ, "HOME": str(directory), "MLFLOW_DISABLE_TELEMETRY": "true", **more}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=directory, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-4000:]
    return out.decode()


@pytest.mark.parametrize("kind", SERVED)
def test_a_package_goes_from_the_client_to_an_answer(kind: str, outcomes: Outcomes) -> None:
    deployment, answer = outcomes.deployments[kind], outcomes.answers[kind]
    form, expected = SERVED[kind]

    assert deployment["state"] == "promoted", deployment["why"]
    assert outcomes.forms[kind] == form
    assert set(answer) == set(expected)
    for name, data in expected.items():
        if isinstance(data, int):
            assert len(answer[name]) == data
        else:
            assert answer[name] == pytest.approx(data, abs=1e-4), name


def test_staging_compares_what_can_be_compared(outcomes: Outcomes) -> None:
    checks = {
        name: {check["name"]: check for check in deployment["checks"]}
        for name, deployment in outcomes.deployments.items()
    }
    for name in SERVED:
        verdicts = {check: outcome["verdict"] for check, outcome in checks[name].items()}
        assert verdicts.pop("holdout") == ("passed" if name == "pickle" else "skipped")
        assert {verdicts.pop("latency"), verdicts.pop("replay")} == {"skipped"}
        assert set(verdicts.values()) == {"passed"}, name
    assert "2 answers a row" in checks["several"]["holdout"]["sentence"]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_served_is_rejected_with_reason_and_remedies(
    kind: str, outcomes: Outcomes
) -> None:
    deployment = outcomes.deployments[kind]

    assert deployment["state"] == "rejected"
    for words in REFUSED[kind]:
        assert words in deployment["why"]


def test_the_command_line_shows_the_reason(outcomes: Outcomes) -> None:
    shown = " ".join(outcomes.shown.split())

    assert "flavor keras is not served: Keras layers can carry code" in shown
