"""The process of a package kept running: started anew when it hangs, dies or breaks a limit."""

import threading
import time
from pathlib import Path

import structlog

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.serving import river_json
from loopwright_common.serving.spec import IsolatedSpec, ServingSpec
from loopwright_scorer.isolated import framing
from loopwright_scorer.isolated.environments import open_to_others
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.isolated.worker_process import (
    Arrays,
    Confinement,
    WorkerError,
    WorkerProcess,
    WorkerResponse,
)

log = structlog.get_logger()
_LONGEST_PAUSE = 30.0
_NAME_DIGITS = 12


def describe_package(
    directory: Path, spec: ServingSpec, example: Arrays, isolation: IsolationConfig
) -> dict[str, object]:
    """What a package is: its task, classes, and what its own predict answers.

    Raises InvalidError when it cannot be opened, UnavailableError while its environment cannot be
    built.
    """
    supervisor = WorkerSupervisor(directory, spec, example, isolation)
    try:
        return supervisor.open()
    finally:
        supervisor.close()


class WorkerSupervisor:
    """The process of a package, and the next one when it has ended."""

    def __init__(
        self, directory: Path, spec: ServingSpec, example: Arrays, isolation: IsolationConfig
    ) -> None:
        assert spec.isolated is not None  # noqa: S101  (whoever opens this has looked)
        self._isolation = isolation
        self._spec: IsolatedSpec = spec.isolated
        self._package = directory.resolve()
        self._confinement = Confinement(
            isolation.strongest_sandbox(), _readable(self._package), isolation.limits.memory
        )
        self._order = framing.pack(_order(directory, spec), {})
        self._example = framing.pack({}, example)
        self._name = spec.source_digest.removeprefix("sha256:")[:_NAME_DIGITS]
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._closed = False
        self._failures, self._not_before = 0, 0.0
        if isolation.metrics is not None:
            isolation.metrics.memory.labels(self._name).set_function(self.memory)

    def open(self) -> dict[str, object]:
        """What the model is. Errors are those of `describe_package`."""
        with self._lock:
            try:
                return self._start()
            except WorkerError as error:
                raise InvalidError(f"the package cannot be opened: {error}") from None

    def call(self, frame: bytes) -> WorkerResponse:
        """The answer to a frame, one call at a time.

        Raises WorkerError that says how the process ended; the next call has another process.
        """
        with self._lock:
            if self._process is None:
                self._start_again()
            assert self._process is not None  # noqa: S101  (it has been started)
            try:
                response = self._process.call(frame, self._isolation.limits.call_timeout)
            except WorkerError as error:
                self._ended(error)
                raise WorkerError(error.reason, f"the model failed: {error}") from None
            self._failures = 0
            return response

    def close(self) -> None:
        """Without the lock, which a call that hangs may hold."""
        self._closed = True
        process, self._process = self._process, None
        if process is not None:
            process.close()
        if self._isolation.metrics is not None:
            self._isolation.metrics.memory.remove(self._name)

    def _start(self) -> dict[str, object]:
        environment = self._isolation.acquire_environment(self._spec)
        if self._confinement.sandbox.own_users:
            environment.open_to_others()
            open_to_others(self._package)
        process = WorkerProcess(environment, self._isolation.new_directory(), self._confinement)
        timeout = self._isolation.limits.start_timeout
        process.send(self._order, timeout)
        response = process.call(self._example, timeout)
        if response.error is not None:
            process.close()
            raise InvalidError(f"the package cannot be opened: {response.error}")
        self._process = process
        if self._closed:
            process.close()
        return response.head

    def _start_again(self) -> None:
        if (wait := self._not_before - time.monotonic()) > 0:
            raise WorkerError(
                "ended", f"the model's process ended; the next starts in {wait:.1f} s"
            )
        try:
            self._start()
        except WorkerError as error:
            self._ended(error)
            raise
        except (InvalidError, UnavailableError) as error:
            self._ended(WorkerError("died", str(error)))
            raise RuntimeError(str(error)) from None

    def _ended(self, error: WorkerError) -> None:
        """Once it is started again at once, then after longer and longer pauses."""
        self._process = None
        pause = min(2.0 ** (self._failures - 1), _LONGEST_PAUSE) if self._failures else 0.0
        self._not_before = time.monotonic() + pause
        self._failures += 1
        log.error("isolated_worker.ended", package=self._name, reason=error.reason, why=str(error))
        if self._isolation.metrics is not None:
            self._isolation.metrics.restarts.labels(self._name, error.reason).inc()

    def memory(self) -> float:
        """Bytes that the package's process takes; 0 while there is none."""
        process = self._process
        return float(process.memory()) if process is not None else 0.0


def _readable(package: Path) -> tuple[Path, ...]:
    """The package and what opens River's JSON."""
    return package, Path(river_json.__file__).parent


def _order(directory: Path, spec: ServingSpec) -> dict[str, object]:
    assert spec.isolated is not None  # noqa: S101  (whoever opens this has looked)
    code = spec.isolated.code
    return {
        "loader": spec.isolated.loader,
        "file": str((directory / spec.file).resolve()),
        "code": str((directory / code).resolve()) if code else None,
        "trusted": spec.trusted,
        "columns": spec.columns is not None,
        "classes": spec.classes,
        "river_json": str(Path(river_json.__file__).parent),
        "directory": str(directory.resolve()),
        "spec": spec.model_dump_json(exclude_none=True),
    }
