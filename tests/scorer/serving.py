"""Fixed routes behind a real server on loopback, for clients that are not asynchronous."""

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from loopwright_common.serving.spec import ServingSpec, Tensor
from loopwright_common.web.client_rates import ClientRates
from loopwright_common.web.request_limits import RequestMemory
from loopwright_scorer.http_server.fast_path import FastPathProtocol
from loopwright_scorer.inference.call_recorder import CallRecorder, CallStats
from loopwright_scorer.inference.executor import InferenceExecutor
from loopwright_scorer.inference.prediction_ids import PredictionIds
from loopwright_scorer.inference.service import InferenceService
from loopwright_scorer.models.loaded_model import load
from loopwright_scorer.protocols.model_repository import ModelRepository
from loopwright_scorer.protocols.request import InferenceLimits
from loopwright_scorer.protocols.v2.grpc import GrpcInferenceService
from loopwright_scorer.protocols.v2.grpc_server import GrpcServer
from loopwright_scorer.routing.routes import Routes
from loopwright_scorer.staging_server import create_staging_app, fixed_route
from tests.scorer.packages import SOURCE, write_spec


@contextmanager
def serving(packages: dict[str, Path]) -> Generator[str]:
    """Each package as a model's version 3; yields host and port."""
    with serving_http(routes_of(packages)) as address:
        yield address


def routes_of(packages: dict[str, Path]) -> Routes:
    """Each package as a model's version 3."""
    routes = Routes()
    for name, directory in packages.items():
        routes.install(fixed_route(name, 3, load(directory, "")))
    return routes


@contextmanager
def serving_http(routes: Routes) -> Generator[str]:
    app = create_staging_app(routes)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=FastPathProtocol.guarded_by(app.guard),
        proxy_headers=False,
        log_config=None,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def serving_grpc(
    routes: Routes,
    *,
    largest: int = 1 << 20,
    memory: int | None = None,
    seconds: float = 5,
    rate: float = 50_000,
) -> Generator[str]:
    """V2 over gRPC; requests together hold `memory` bytes, six times the largest unless given."""
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()
    port: Future[int] = Future()

    async def serve() -> None:
        stats = CallStats(routes)
        scoring = InferenceService(
            routes, PredictionIds(b"k" * 32), InferenceExecutor(64), CallRecorder(routes, stats)
        )
        inference = GrpcInferenceService(scoring, _is_ready, stats, ModelRepository(routes))
        limits = InferenceLimits(
            RequestMemory(memory or 6 * largest, "scorer"), largest, largest, body_seconds=seconds
        )
        server = GrpcServer(inference, limits, ClientRates(rate))
        port.set_result(server.listen("127.0.0.1", 0))
        running = asyncio.create_task(server.run())
        await stopping.wait()
        await server.stop()
        running.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield f"127.0.0.1:{port.result(10)}"
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


async def _is_ready() -> str | None:
    return None


def doubling(directory: Path, dtype: str) -> Path:
    """A regressor over one tensor [rows, 2] of any number type: twice the sum of its values."""
    from onnx import helper

    doubled = helper.make_node("Add", ["sum", "sum"], ["variable"])
    return _over_sums(directory, [doubled], dtype)


def laborious(directory: Path) -> Path:
    """A regressor like it: the sum of the values, after work by the cube of the largest value."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ReduceMax", ["values"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Max", ["whole", "axes"], ["side"]),  # at least 1
        helper.make_node("Concat", ["side", "side"], ["shape"], axis=0),
        helper.make_node("Expand", ["largest", "shape"], ["square"]),
        helper.make_node("MatMul", ["square", "square"], ["product"]),
        helper.make_node("ReduceMin", ["product"], ["least"], keepdims=0),
        helper.make_node("Sub", ["least", "least"], ["nothing"]),
        helper.make_node("Add", ["sum", "nothing"], ["variable"]),
    ]
    return _over_sums(directory, nodes, "float64")


def _over_sums(directory: Path, nodes: list[Any], dtype: str) -> Path:
    """A package whose nodes make `variable` of `values` and `sum`, the sum of each row."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["values", "axes"], ["sum"], keepdims=0), *nodes],
        "sums",
        [helper.make_tensor_value_info("values", TensorProto.DOUBLE, [None, 2])],
        [helper.make_tensor_value_info("variable", TensorProto.DOUBLE, [None])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 10
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(made.SerializeToString())
    spec = ServingSpec(
        format="onnx",
        file="model.onnx",
        task="regressor",
        tensor=Tensor(name="values", dtype=dtype, shape=[2]),
        output_names={"prediction": "variable"},
        source_digest=SOURCE,
    )
    return write_spec(directory, spec)
