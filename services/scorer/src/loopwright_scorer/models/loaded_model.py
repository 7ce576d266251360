"""Loaded versions: opened, warmed, and only then handed out."""

import ctypes
import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from pydantic import ValidationError

from loopwright_common.errors import InvalidError, LoopwrightError, described, without_paths
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_common.storage import hex_of
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.isolated.worker_process import WorkerError
from loopwright_scorer.runtimes.base import ModelRuntime, ServingPackage
from loopwright_scorer.runtimes.registry import open_runtime
from loopwright_scorer.tensors.example_rows import example_of
from loopwright_scorer.tensors.inputs import ModelInputs, concatenate_inputs
from loopwright_scorer.tensors.signature import CompiledSignature, compile_signature
from loopwright_scorer.tensors.tensors import InferenceRequest, ModelOutputs, TensorType
from loopwright_scorer.watchdog.computation_slots import ComputationSlots

log = structlog.get_logger()
INLINE_SECONDS = 0.003
"""Calls expected to take longer are not computed on the event loop."""
_WARM_CALLS = 5
_WARM_ROWS = 64
_PAGE = resource.getpagesize()
_AMPLE_SECONDS, _AMPLE_TIMES = 30.0, 20.0
"""What a computation in a thread may take: so long, and so many times of what is expected."""
_LONGEST_SECONDS = 600.0
_ISOLATED_CALL_SECONDS = 0.01
"""A call to another process waits, and is never made on the event loop."""


@dataclass(slots=True)
class ModelResult:
    """What a version made of a request; `error` instead of outputs when it failed."""

    inputs: ModelInputs
    outputs: ModelOutputs | None = None
    error: str | None = None
    harmed: bool = False
    """Whether it failed by hanging, by dying or by taking all the memory that it may have."""
    queued_ns: int = 0
    """Nanoseconds that the request waited for the model to be free."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class LoadedModel:
    """A package ready to answer. Calls in flight hold it, so it goes when the last one ends.

    Unloaded, it still tells what it is, and `seconds` are infinite until it is back.
    """

    digest: str
    spec: ServingSpec
    signature: CompiledSignature
    runtime: ModelRuntime | None
    outputs: Sequence[TensorType]
    call_seconds: float = math.inf
    row_seconds: float = 0.0
    """CPU seconds of an answer, as measured when it was warmed: per call, and for each row."""
    memory: int = 0
    """Bytes that loading it took."""
    callers: int = 0
    """Calls that wait for it or are computed in a thread."""
    used_at: float = field(default_factory=time.monotonic)
    """When it was last named, in seconds of the monotonic clock."""
    sandbox: str | None = None
    """Level of the sandbox that it runs in, where it has a process of its own."""
    unloaded: bool = False
    """Unloaded on request, until somebody asks to load it."""
    harm: str | None = None
    """What harm it did: it is to have no traffic that another version can take."""
    slots: ComputationSlots | None = None
    """Where its computations are told to the watchdog."""
    key: bytes = b""
    """The digest as it is told there."""

    @property
    def is_in_memory(self) -> bool:
        return self.runtime is not None

    def unload(self) -> None:
        """Let the engine go; a process of its own ends with it."""
        self.runtime, self.call_seconds = None, math.inf

    def adopt_engine(self, fresh: "LoadedModel") -> None:
        """Use the engine of the same package, loaded anew."""
        self.runtime, self.memory = fresh.runtime, fresh.memory
        self.slots, self.key = fresh.slots, fresh.key
        self.call_seconds, self.row_seconds = fresh.call_seconds, fresh.row_seconds

    def seconds(self, rows: int) -> float:
        """How long an answer is expected to take."""
        return self.call_seconds + rows * self.row_seconds

    def predict_inline(
        self, inputs: ModelInputs, within: float = INLINE_SECONDS
    ) -> ModelResult | None:
        """The answer, where it is expected within so many seconds; else None: enqueue the call."""
        if self.call_seconds + inputs.rows * self.row_seconds > within:
            return None
        if (slots := self.slots) is None:
            return self.predict(inputs)
        slots.begin_on_loop(self.key)
        try:
            return self.predict(inputs)
        finally:
            slots.end_on_loop()

    @contextmanager
    def computing(self, rows: int) -> Iterator[None]:
        """Meanwhile this thread computes so many rows, and the watchdog knows of it."""
        if self.slots is None or hasattr(self.runtime, "memory"):  # another process has limits
            yield
            return
        expected = min(self.seconds(rows), _LONGEST_SECONDS)
        with self.slots.in_thread(self.key, _AMPLE_SECONDS + _AMPLE_TIMES * expected):
            yield

    def score(self, request: InferenceRequest) -> ModelResult:
        """InvalidError when the request is at fault; the model's own failures are in `error`."""
        return self.predict(self.signature.read(request))

    def predict(self, inputs: ModelInputs) -> ModelResult:
        """As `score`, of rows that have been read."""
        assert self.runtime is not None  # noqa: S101  (whoever enqueued has loaded it)
        try:
            outputs = self.runtime.predict(inputs)
        except LoopwrightError:
            raise
        except WorkerError as error:
            self.harm = self.harm or error.harm
            text = described(error)[:500]
            return ModelResult(inputs, error=text, harmed=error.harm is not None)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            return ModelResult(inputs, error=_own_failure(inputs, described(error)[:500]))
        if not outputs.is_finite():
            return ModelResult(
                inputs, error=_own_failure(inputs, "the model's answer is not a number")
            )
        return ModelResult(inputs, outputs)


def load(
    directory: Path,
    digest: str,
    isolation: IsolationConfig | None = None,
    slots: ComputationSlots | None = None,
) -> LoadedModel:
    """Open and warm the package in a directory; InvalidError says why it cannot be served.

    Without `isolation` no package is served that needs a process of its own; with `slots` the
    watchdog is told.
    """
    if slots is None:
        return _load(directory, digest, isolation)
    key = bytes.fromhex(hex_of(digest))
    with slots.in_thread(key, _LONGEST_SECONDS):
        model = _load(directory, digest, isolation)
    model.slots, model.key = slots, key
    return model


def _load(directory: Path, digest: str, isolation: IsolationConfig | None) -> LoadedModel:
    before = _resident()
    try:
        spec = ServingSpec.model_validate_json((directory / SPEC_FILE).read_bytes())
        signature = compile_signature(spec)
        runtime = open_runtime(ServingPackage(directory, spec, signature, isolation, digest))
    except LoopwrightError:
        raise
    except (OSError, ValidationError) as error:
        raise InvalidError(f"{SPEC_FILE}: {without_paths(error)}") from None
    except Exception as error:
        raise InvalidError(f"cannot open the package: {described(error)}") from error
    model = _warmed(LoadedModel(digest, spec, signature, runtime, runtime.outputs))
    _give_back_memory()
    model.harm = isolation.quarantine_reason(digest) if isolation else None
    model.sandbox = getattr(runtime, "sandbox", None)
    model.memory = max(_resident() - before, _size(directory)) + _worker_memory(runtime)
    return model


def _warmed(model: LoadedModel) -> LoadedModel:
    """Answer the example some times, and say what an answer costs."""
    example = example_of(model.spec, model.signature)
    one = _fastest(model, example)
    if one is None:
        return model
    times = max(_WARM_ROWS // example.rows, 2)
    many = _fastest(model, concatenate_inputs([example] * times)) or one
    per_row = max(many - one, 0.0) / (example.rows * (times - 1))
    least = _ISOLATED_CALL_SECONDS if hasattr(model.runtime, "memory") else 0.0
    per_call = max(one - per_row * example.rows, least)
    model.call_seconds, model.row_seconds = per_call, per_row
    return model


def _fastest(model: LoadedModel, inputs: ModelInputs) -> float | None:
    """CPU seconds of an answer; None where a made-up row is refused."""
    fastest = float("inf")
    for _ in range(_WARM_CALLS):
        started = time.thread_time()  # not the time that other processes took
        try:
            scored = model.predict(inputs)
        except InvalidError as error:
            scored = ModelResult(inputs, error=str(error))
        if scored.error is not None:
            _report_unwarmed(model, scored.error)
            return None
        fastest = min(fastest, time.thread_time() - started)
    return fastest


def _report_unwarmed(model: LoadedModel, error: str) -> None:
    """A made-up row may be refused; the package's own example must be answered."""
    if model.spec.example is not None:
        raise InvalidError(f"the model does not answer its own example: {error}")
    log.warning("model.not-warmed", digest=model.digest, error=error)


def _resident() -> int:
    """Bytes of this process's memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _give_back_memory() -> None:
    """What opening took and needs no more, such as a graph that was read to be proven.

    The allocator of glibc keeps it otherwise; others do not know the call.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _worker_memory(runtime: ModelRuntime) -> int:
    """Bytes of the process that the package runs in, where it has one of its own."""
    memory: Callable[[], int] | None = getattr(runtime, "memory", None)
    return memory() if memory else 0


def _own_failure(inputs: ModelInputs, failure: str) -> str:
    """The failure as the model's own; InvalidError where unusual values are the likelier cause."""
    if unusual := inputs.unusual():
        raise InvalidError(
            f"the model has no answer for the missing or extreme values in {', '.join(unusual)};"
            f" send values like those it was trained on ({failure})"
        )
    return failure
