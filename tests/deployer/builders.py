"""Packages, events and a deployer to test with; everything is real but the scorer's replicas."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from loopwright_common import clock
from loopwright_common.bus.interface import EventBus, from_start
from loopwright_common.cloudevents import codec
from loopwright_common.events import Event, EventData, ModelRegistered, ReplicaReported, ServedRoute
from loopwright_common.ids import new_id, new_traceparent
from loopwright_deployer.deployments.domain import Deployment

MODEL_ID = "model-1"
MODEL = "bank"


def registered(version: int, **changes: Any) -> ModelRegistered:
    fields: dict[str, Any] = {
        "model_id": MODEL_ID,
        "model": MODEL,
        "version": version,
        "digest": "sha256:" + "0" * 64,
        "location": "x",
        "format": "sklearn-skops",
    }
    return ModelRegistered.model_validate({**fields, **changes})


def event_of(data: EventData, key: str = MODEL_ID) -> Event[Any]:
    event_id = new_id()
    return Event(
        id=event_id,
        source="test",
        subject=f"models/{MODEL}",
        time=clock.now(),
        key=key,
        chain_id=event_id,
        causes=(),
        traceparent=new_traceparent(),
        data=data,
    )


def replica(*routes: ServedRoute, name: str = "r1", **changes: Any) -> ReplicaReported:
    return ReplicaReported(
        replica=name,
        epoch="e1",
        environment="production",
        at=changes.get("at", clock.now()),
        routes=list(routes),
    )


async def publish(bus: EventBus, data: EventData, key: str = MODEL_ID) -> None:
    await bus.publish([codec.encode(event_of(data, key))])


def customers(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """A frame with text, whole and real columns, and labels that depend on them."""
    import pandas as pd

    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": draw.integers(18, 80, rows),
            "rate": draw.normal(size=rows),
            "job": draw.choice(["nurse", "farmer", "clerk"], rows),
        }
    )
    chance = 1 / (1 + np.exp(-(frame.rate + 2.0 * (frame.job == "nurse") - 0.5)))
    return frame, (draw.random(rows) < chance).astype(int)


COLUMNS = [
    {"type": "long", "name": "age", "required": True},
    {"type": "double", "name": "rate", "required": True},
    {"type": "string", "name": "job", "required": True},
]


def skops_package(directory: Path, estimator: Any, inputs: list[dict[str, Any]]) -> Path:
    """A package as the mlflow client lays it out, without its slow import."""
    import skops.io

    directory.mkdir(parents=True)
    skops.io.dump(estimator, directory / "model.skops")
    flavors = {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}}
    return _mlmodel(directory, flavors, inputs)


def onnx_package(directory: Path, content: bytes, inputs: list[dict[str, Any]]) -> Path:
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(content)
    return _mlmodel(directory, {"onnx": {"data": "model.onnx"}}, inputs)


def with_example(directory: Path, columns: list[str], rows: list[list[Any]]) -> Path:
    (directory / "input_example.json").write_text(json.dumps({"columns": columns, "data": rows}))
    content = json.loads((directory / "MLmodel").read_text())
    content["saved_input_example_info"] = {
        "artifact_path": "input_example.json",
        "type": "dataframe",
    }
    (directory / "MLmodel").write_text(json.dumps(content))
    return directory


def _mlmodel(directory: Path, flavors: dict[str, Any], inputs: list[dict[str, Any]]) -> Path:
    content: dict[str, Any] = {"flavors": flavors}
    if inputs:
        content["signature"] = {"inputs": json.dumps(inputs)}
    # JSON is YAML.
    (directory / "MLmodel").write_text(json.dumps(content))
    return directory


def pipeline(seed: int = 0, rows: int = 400) -> Any:
    """A fitted logistic regression over `customers`."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame, labels = customers(rows, seed)
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["job"]), (StandardScaler(), ["age", "rate"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame, labels)


def graph_of(estimator: Any, **options: Any) -> bytes:
    """An estimator over `customers` as ONNX, one input per column."""
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    types = [
        ("age", Int64TensorType([None, 1])),
        ("rate", FloatTensorType([None, 1])),
        ("job", StringTensorType([None, 1])),
    ]
    converted = skl2onnx.to_onnx(estimator, initial_types=types, target_opset=18, **options)
    return bytes(converted.SerializeToString())


async def published_events(bus: EventBus, *topics: str) -> list[Event[Any]]:
    subscription = await bus.subscribe(None, list(topics), from_start)
    try:
        return [codec.decode(r) for r in await subscription.fetch(500, 0.2)]
    finally:
        await subscription.close()


def deployment(**changes: Any) -> Deployment:
    now = clock.now()
    fields: dict[str, Any] = {
        "id": "d1",
        "environment": "production",
        "model_id": MODEL_ID,
        "model": MODEL,
        "version": 1,
        "why": "registered",
        "state_since": now,
        "created_at": now,
    }
    return Deployment(**{**fields, **changes})
