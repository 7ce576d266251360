"""A package served from its own process: started anew when it hangs, dies or breaks a limit."""

import threading
import time
import weakref
from pathlib import Path

import numpy as np
import structlog

from loopwright_common.errors import InvalidError, UnavailableError
from loopwright_common.serving import river_json
from loopwright_common.serving.spec import Apart, ServingSpec
from loopwright_scorer.isolated import framing
from loopwright_scorer.isolated.limits import Quarters
from loopwright_scorer.isolated.worker_supervisor import Arrays, Child, ChildError, Told
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.outputs import (
    LABEL,
    PREDICTION,
    PROBABILITIES,
    ModelOutputs,
    declared,
    label_dtype,
    shaped,
)

log = structlog.get_logger()
_LONGEST_PAUSE = 30.0
_NAME_DIGITS = 12


class ApartRuntime:
    """Never blocks for longer than a start and a call may take."""

    def __init__(self, directory: Path, spec: ServingSpec, example: Arrays, home: Quarters) -> None:
        self._tenant = Tenant(directory, spec, example, home)
        # However this goes: the process goes with it.
        self._close = weakref.finalize(self, self._tenant.close)
        told = self._tenant.open()
        self._wanted = [PREDICTION] if spec.task == "regressor" else [LABEL]
        if spec.task == "classifier" and told.get("probabilities"):
            self._wanted.append(PROBABILITIES)
        self._label_dtype = label_dtype(spec.classes) or np.dtype(object)
        names = {name: name for name in self._wanted}
        self.outputs = declared(spec, names, self._label_dtype, np.dtype(np.float64))

    def predict(self, inputs: ModelInputs) -> ModelOutputs:
        told = self._tenant.ask(framing.pack({"rows": inputs.rows}, inputs.arrays))
        if told.refused:
            raise InvalidError(f"the model refuses these rows: {told.error}")
        if told.error is not None:
            raise RuntimeError(told.error)
        return self._checked(inputs.rows, told.arrays)

    def memory(self) -> int:
        """Bytes of its process."""
        return int(self._tenant.memory())

    def _checked(self, rows: int, arrays: Arrays) -> ModelOutputs:
        """Another process's word is not taken for it: RuntimeError unless it is as declared."""
        try:
            found = {name: _numbers(name, arrays[name]) for name in self._wanted}
            answered = shaped(rows, self._label_dtype, found)
            shapes = {name: array.shape for name, array in answered.tensors()}
        except (KeyError, ValueError, TypeError) as error:
            raise RuntimeError(f"the model answers {_shapes(arrays)}: {error}") from None
        if any(shapes[put.name] != (rows, *put.shape[1:]) for put in self.outputs):
            raise RuntimeError(f"the model answers {_shapes(arrays)} to {rows} rows")
        return answered


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    return array if name == LABEL else array.astype(np.float64, copy=False)


def _shapes(arrays: Arrays) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "nothing"


def described(
    directory: Path, spec: ServingSpec, example: Arrays, home: Quarters
) -> dict[str, object]:
    """What a package is: its task, classes, and what its own predict answers.

    InvalidError when it cannot be opened, UnavailableError while its environment cannot be built.
    """
    tenant = Tenant(directory, spec, example, home)
    try:
        return tenant.open()
    finally:
        tenant.close()


class Tenant:
    """The process of a package, and the next one when it has ended."""

    def __init__(self, directory: Path, spec: ServingSpec, example: Arrays, home: Quarters) -> None:
        assert spec.apart is not None  # noqa: S101  (whoever opens this has looked)
        self._home = home
        self._apart: Apart = spec.apart
        self._order = framing.pack(_order(directory, spec, home), {})
        self._example = framing.pack({}, example)
        self._name = spec.source_digest.removeprefix("sha256:")[:_NAME_DIGITS]
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._closed = False
        self._failures, self._not_before = 0, 0.0
        if home.metrics is not None:
            home.metrics.memory.labels(self._name).set_function(self.memory)

    def open(self) -> dict[str, object]:
        """What the model is. Errors are those of `described`."""
        with self._lock:
            try:
                return self._start()
            except ChildError as error:
                raise InvalidError(f"the package cannot be opened: {error}") from None

    def ask(self, frame: bytes) -> Told:
        """One call at a time. ChildError says how the process ended; the next call has another."""
        with self._lock:
            if self._child is None:
                self._start_again()
            assert self._child is not None  # noqa: S101  (it has been started)
            try:
                told = self._child.ask(frame, self._home.limits.seconds)
            except ChildError as error:
                self._ended(error)
                raise ChildError(error.reason, f"the model failed: {error}") from None
            self._failures = 0
            return told

    def close(self) -> None:
        """Without the lock, which a call that hangs may hold."""
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            child.close()
        if self._home.metrics is not None:
            self._home.metrics.memory.remove(self._name)

    def _start(self) -> dict[str, object]:
        place = self._home.built().place(self._apart.requirements, self._apart.python)
        child = Child(place, self._home.room())
        limit = self._home.limits.start_seconds
        child.send(self._order, limit)
        told = child.ask(self._example, limit)
        if told.error is not None:
            child.close()
            raise InvalidError(f"the package cannot be opened: {told.error}")
        self._child = child
        if self._closed:
            child.close()
        return told.head

    def _start_again(self) -> None:
        if (wait := self._not_before - time.monotonic()) > 0:
            raise ChildError("ended", f"the model's process ended; the next starts in {wait:.1f} s")
        try:
            self._start()
        except ChildError as error:
            self._ended(error)
            raise
        except (InvalidError, UnavailableError) as error:
            self._ended(ChildError("died", str(error)))
            raise RuntimeError(str(error)) from None

    def _ended(self, error: ChildError) -> None:
        """Once it is started again at once, then after longer and longer pauses."""
        self._child = None
        pause = min(2.0 ** (self._failures - 1), _LONGEST_PAUSE) if self._failures else 0.0
        self._not_before = time.monotonic() + pause
        self._failures += 1
        log.error("apart.ended", package=self._name, reason=error.reason, why=str(error))
        if self._home.metrics is not None:
            self._home.metrics.restarts.labels(self._name, error.reason).inc()

    def memory(self) -> float:
        child = self._child
        return float(child.memory()) if child is not None else 0.0


def _order(directory: Path, spec: ServingSpec, home: Quarters) -> dict[str, object]:
    assert spec.apart is not None  # noqa: S101  (whoever opens this has looked)
    code = spec.apart.code
    return {
        "loader": spec.apart.loader,
        "file": str((directory / spec.file).resolve()),
        "code": str((directory / code).resolve()) if code else None,
        "trusted": spec.trusted,
        "columns": spec.columns is not None,
        "classes": spec.classes,
        "memory": home.limits.memory,
        "river_json": river_json.__file__,
    }
