"""Loaded versions: opened, warmed, and only then handed out."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import structlog
from pydantic import ValidationError

from loopwright_common.errors import InvalidError, LoopwrightError
from loopwright_common.serving import SPEC_FILE, ServingSpec
from loopwright_scorer.plan import Inputs, Plan, compile_plan
from loopwright_scorer.protocols import v2
from loopwright_scorer.requests import Request
from loopwright_scorer.runtimes import Runtime, open_runtime
from loopwright_scorer.runtimes.outputs import Outputs
from loopwright_scorer.tensors import NUMPY_TYPES

log = structlog.get_logger()
_LOOP_SECONDS = 0.003
"""Calls expected to take longer are computed in a thread."""
_WARM_CALLS = 5


@dataclass(frozen=True, slots=True)
class Scored:
    """What a version made of a request; `error` instead of outputs when it failed."""

    inputs: Inputs
    outputs: Outputs | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class LoadedModel:
    """A package ready to answer. Calls in flight hold it, so it goes when the last one ends."""

    digest: str
    spec: ServingSpec
    plan: Plan
    runtime: Runtime
    inline_bytes: int
    """Request bodies up to this size are answered on the event loop."""

    def score(self, request: Request) -> Scored:
        """InvalidError when the request is at fault; the model's own failures are in `error`."""
        inputs = self.plan.read(request)
        try:
            outputs = self.runtime.predict(inputs)
        except LoopwrightError:
            raise
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            return Scored(inputs, error=f"{type(error).__name__}: {error}"[:500])
        numbers = outputs.numbers()
        if numbers is not None and not np.isfinite(numbers).all():
            return Scored(inputs, error=_no_number(inputs))
        return Scored(inputs, outputs)


def load(directory: Path, digest: str) -> LoadedModel:
    """Open and warm the package in a directory; InvalidError says why it cannot be served."""
    try:
        spec = ServingSpec.model_validate_json((directory / SPEC_FILE).read_bytes())
        plan = compile_plan(spec)
        runtime = open_runtime(directory, spec, plan)
    except LoopwrightError:
        raise
    except (OSError, ValidationError) as error:
        raise InvalidError(f"{SPEC_FILE}: {error}") from None
    except Exception as error:
        raise InvalidError(f"cannot open the package: {type(error).__name__}: {error}") from error
    cold = LoadedModel(digest, spec, plan, runtime, 0)
    return LoadedModel(digest, spec, plan, runtime, _warmed(cold))


def _warmed(model: LoadedModel) -> int:
    """Answer the example some times; returns the largest body to answer on the event loop."""
    body = orjson.dumps({"inputs": _example(model)}, option=orjson.OPT_SERIALIZE_NUMPY)
    fastest = float("inf")
    for _ in range(_WARM_CALLS):
        started = time.thread_time()  # not the time that other processes took
        try:
            scored = model.score(v2.parse(body))
        except InvalidError as error:
            scored = Scored(Inputs(0, {}), error=str(error))
        if scored.error is not None or scored.outputs is None:
            return _cold(model, scored.error)
        v2.write({}, scored.outputs.tensors())
        fastest = min(fastest, time.thread_time() - started)
    return int(len(body) * _LOOP_SECONDS / fastest) if fastest < _LOOP_SECONDS else 0


def _cold(model: LoadedModel, error: str | None) -> int:
    """A made-up row may be refused; the package's own example must be answered."""
    if model.spec.example is not None:
        raise InvalidError(f"the model does not answer its own example: {error}")
    log.warning("model.not-warmed", digest=model.digest, error=error)
    return 0


def _example(model: LoadedModel) -> list[dict[str, object]]:
    example: Mapping[str, list[Any]] = model.spec.example or {}
    tensors = []
    for put in model.plan.inputs:
        trailing = [max(size, 1) for size in put.shape[1:]]
        data = example.get(put.name)
        if data is None:
            made_up = np.zeros((1, *trailing), NUMPY_TYPES[put.datatype])
            data = [""] if put.datatype == "BYTES" else made_up.tolist()
        shape = [len(data), *trailing]
        tensors.append({"name": put.name, "datatype": put.datatype, "shape": shape, "data": data})
    return tensors


def _no_number(inputs: Inputs) -> str:
    """Blame the request where it has values that models often cannot take."""
    if unusual := inputs.unusual():
        raise InvalidError(
            f"the model has no answer for the missing or extreme values in {', '.join(unusual)};"
            " send values like those it was trained on"
        )
    return "the model's answer is not a number"
