"""Whatever is asked of `/v1`: an answer that the service's OpenAPI document declares, never a 500.

The registry's MLflow API has a protocol of its own and is tested with its own client.
"""

import asyncio
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from loopwright.client import PORTS
from loopwright.embedded import composed
from loopwright_common.delivery.consumer import Consumer
from loopwright_common.events import TOPICS
from loopwright_common.process.runtime import run_until
from loopwright_trainer.runs.service import add_repository
from tests.contract.records import every_golden, undecodable
from tests.contract.test_handlers import Readers

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
MODEL = "bank-marketing"
FEW = settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class System:
    """Every service's API on a port of its own, after the golden records; no worker runs."""

    def __init__(self, directory: Path) -> None:
        self.urls: Mapping[str, str] = {}
        self.apps: Mapping[str, Any] = {}
        self._directory = directory
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "System":
        self._thread.start()
        assert self._listening.wait(300)
        self._register(MODEL)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def known(self, service: str) -> Mapping[str, str]:
        """Values of the parameters in a service's paths that name what is there."""
        letters = {} if service == "scorer" else {"id": self._first(service, "/v1/dead-letters")}
        return {
            "model": MODEL,
            "version": "1",
            "name": "bank",
            "deployment_id": self._first("deployer", "/v1/deployments"),
            "run_id": self._first("trainer", "/v1/runs"),
            **letters,
        }

    def _register(self, name: str) -> None:
        mlflow = f"{self.urls['registry']}/api/2.0/mlflow"
        for call, body in (
            ("registered-models/create", {"name": name}),
            ("model-versions/create", {"name": name, "source": "mlflow-artifacts:/elsewhere"}),
        ):
            httpx.post(f"{mlflow}/{call}", json=body).raise_for_status()

    def _first(self, service: str, path: str) -> str:
        return str(httpx.get(self.urls[service] + path).json()["items"][0]["id"])

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with composed(self._directory) as services:
            owners = [getattr(loop, "__self__", None) for s in services for loop in s.loops]
            consumers = [owner for owner in owners if isinstance(owner, Consumer)]
            readers = Readers(services, consumers, [])
            async with readers.database("trainer").unit_of_work() as uow:
                await add_repository(uow, "bank", "file:///nowhere", "main")
            await readers.publish([*every_golden(), *map(undecodable, TOPICS)])
            for service in services:
                service.loops.clear()
            self.apps = {s.name: s.app for s in services}
            self.urls = {s.name: f"http://{s.host}:{s.port}" for s in services}
            await run_until(self._stop, services, started=self._listening.set)


@contextmanager
def running(directory: Path, **settings: object) -> Generator[System, None, None]:
    """The system with settings that hold for every service."""
    from loopwright.ports import free_ports

    with pytest.MonkeyPatch.context() as patch:
        for name, port in free_ports(*PORTS, "scorer_grpc").items():
            patch.setenv(f"LOOPWRIGHT_{name.upper()}_PORT", str(port))
        for name, value in settings.items():
            patch.setenv(f"LOOPWRIGHT_{name.upper()}", str(value))
        with System(directory) as system:
            yield system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Generator[System, None, None]:
    with running(tmp_path_factory.mktemp("apis")) as system:
        yield system


def operations(system: System, service: str) -> list[Any]:
    schema = schemathesis.openapi.from_url(f"{system.urls[service]}/openapi.json")
    found = schema.include(path_regex="^/v1/").get_all_operations()
    return [each.ok() for each in found if isinstance(each, Ok)]


@pytest.mark.parametrize("service", PORTS)
def test_every_answer_to_a_request_by_the_book_is_declared(system: System, service: str) -> None:
    known = system.known(service)
    for operation in operations(system, service):
        check(operation, GenerationMode.POSITIVE, known)


@pytest.mark.parametrize("service", PORTS)
def test_every_path_is_asked_for_what_is_there(system: System, service: str) -> None:
    """A parameter of a new name gets a value in `System.known`; else it would answer 404 alone."""
    known = system.known(service)
    missing = {
        operation.label: parameter.name
        for operation in operations(system, service)
        for parameter in operation.path_parameters
        if parameter.name not in known and "enum" not in parameter.definition["schema"]
    }

    assert missing == {}


@pytest.mark.parametrize("service", PORTS)
def test_every_answer_to_a_wrong_request_is_declared(system: System, service: str) -> None:
    for operation in operations(system, service):
        # Where every request fits, there is no wrong one.
        with suppress(Unsatisfiable):
            check(operation, GenerationMode.NEGATIVE, {})


@pytest.mark.parametrize("service", PORTS)
def test_a_body_that_is_no_json_is_told_so(system: System, service: str) -> None:
    for operation in operations(system, service):
        if not operation.body:
            continue
        path = operation.path.replace("{action}", "pause")
        for body in (b"", b"{not json", b"\xff\xfe", b"[" * 50_000, b"1e999"):
            url = f"{system.urls[service]}{path}"
            headers = {"content-type": "application/json"}
            answer = httpx.request(operation.method, url, content=body, headers=headers)
            assert answer.status_code in (400, 404, 422), (operation.label, body[:10], answer.text)
            assert answer.headers["content-type"] == "application/problem+json"


def check(operation: Any, mode: GenerationMode, known: Mapping[str, str]) -> None:
    """Every second time with names that are there."""

    @FEW
    @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())
    def answers_as_declared(case: Any, there: bool) -> None:
        if there:
            names = case.path_parameters.keys() & known.keys()
            case.path_parameters.update({name: known[name] for name in names})
        case.call_and_validate(checks=CHECKS)

    answers_as_declared()
