"""What is not proven, or did harm, computes in a process of its own, and as it would here."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_scorer.isolated.limits import IsolationConfig, WorkerLimits
from loopwright_scorer.isolated.runtime import IsolatedRuntime
from loopwright_scorer.models.loaded_model import LoadedModel, load
from loopwright_scorer.runtimes.base import ServingPackage
from loopwright_scorer.runtimes.confinement import place
from loopwright_scorer.runtimes.onnx import OnnxRuntime
from loopwright_scorer.tensors.inputs import ModelInputs
from loopwright_scorer.tensors.signature import compile_signature
from tests.scorer import harmful_packages, packages
from tests.scorer.harness import MODEL, ROW, ScorerHarness, eventually


@pytest.fixture
def isolation(tmp_path: Path) -> IsolationConfig:
    return IsolationConfig(tmp_path / "isolated", limits=WorkerLimits(call_timeout=1.0))


def rows_of(columns: dict[str, list[object]]) -> ModelInputs:
    arrays = {name: np.array(values) for name, values in columns.items()}
    arrays["job"] = arrays["job"].astype(object)
    return ModelInputs(1, arrays)


@pytest.mark.parametrize("kind", ["trained", "native"])
def test_a_confined_package_answers_as_it_does_here(
    package_dirs: dict[str, Path], isolation: IsolationConfig, kind: str
) -> None:
    def reason(digest: str) -> str | None:
        return "it did harm" if digest == "sha256:bad" else None

    here = load(package_dirs[kind], "sha256:good", isolation)
    confined = load(package_dirs[kind], "sha256:bad", replace(isolation, quarantine_reason=reason))

    assert isinstance(confined.runtime, IsolatedRuntime)
    assert not isinstance(here.runtime, IsolatedRuntime)
    assert confined.harm == "it did harm"
    assert here.harm is None
    assert confined.predict_inline(rows_of(ROW)) is None
    assert confined.outputs == here.outputs
    ours, theirs = here.predict(rows_of(ROW)).outputs, confined.predict(rows_of(ROW)).outputs
    assert ours is not None
    assert theirs is not None
    for one, other in zip(ours.tensors(), theirs.tensors(), strict=True):
        np.testing.assert_array_equal(one.array, other.array)
        assert one.array.dtype == other.array.dtype


def test_a_confined_package_refuses_as_it_does_here(
    package_dirs: dict[str, Path], isolation: IsolationConfig
) -> None:
    def refusal(model: LoadedModel) -> str:
        with pytest.raises(InvalidError) as refused:
            model.predict(rows_of({**ROW, "job": ["astronaut"]}))
        return str(refused.value)

    confined = replace(isolation, quarantine_reason=lambda _digest: "it did harm")

    here = refusal(load(package_dirs["strict"], "", isolation))
    assert here.partition(": ")[2] in refusal(load(package_dirs["strict"], "", confined))


def test_in_a_process_with_other_services_only_proven_graphs_compute(
    package_dirs: dict[str, Path], isolation: IsolationConfig
) -> None:
    shared = replace(isolation, shares_process=True)

    assert isinstance(load(package_dirs["trained"], "", shared).runtime, OnnxRuntime)
    assert isinstance(load(package_dirs["native"], "", shared).runtime, IsolatedRuntime)


async def test_the_embedded_scorer_shares_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loopwright import embedded
    from loopwright_scorer import main

    given: list[object] = []
    build = main.build

    async def noted(*arguments: object, **more: object) -> object:
        given.append(more.get("shares_process"))
        return await build(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(main, "build", noted)
    async with embedded.composed(tmp_path):
        assert given == [True]


@pytest.mark.parametrize("make", [harmful_packages.endless, harmful_packages.hungry])
def test_a_graph_that_is_not_proven_needs_a_process_of_its_own(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    with pytest.raises(InvalidError, match=r"needs a process of its own.*: node '(turns|places)'"):
        load(make(tmp_path / "package"), "")


def test_a_graph_with_tensors_in_other_files_is_refused(tmp_path: Path) -> None:
    import onnx

    directory = packages.summing(tmp_path / "package")
    model = onnx.load(directory / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    (directory / "model.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(InvalidError, match="kept in another file"):
        load(directory, "")


def test_more_rows_than_a_graph_has_memory_for_are_refused(tmp_path: Path) -> None:
    directory = packages.summing(tmp_path / "package")
    spec = ServingSpec.model_validate_json((directory / SPEC_FILE).read_bytes())
    package = ServingPackage(directory, spec, compile_signature(spec))
    largest = place(package).largest_input
    runtime = OnnxRuntime(package.file, spec, package.signature, largest_input=8)

    assert 1e7 < largest < 1e9
    assert runtime.predict(ModelInputs(2, {"pixels": np.ones((2, 2, 2))})).prediction is not None
    with pytest.raises(InvalidError, match=r"3 rows at once are more .* send fewer"):
        runtime.predict(ModelInputs(3, {"pixels": np.ones((3, 2, 2))}))


async def test_a_canary_that_hangs_once_is_out(harness: ScorerHarness, tmp_path: Path) -> None:
    endless = harmful_packages.endless(tmp_path / "endless")
    harness.package_dirs = {**harness.package_dirs, "endless": endless}
    async with harness.replica(isolated_call_timeout=0.5) as replica:
        canary = await harness.arm(2, "endless", 0.5)
        await harness.route(1, await harness.arm(1, "low", 0.5), canary)
        await replica.serves(1)
        evil = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [666.0]}]}
        path = f"/v2/models/{MODEL}/infer"

        async def arm() -> dict[str, Any]:
            served = (await replica.http.get("/v1/models")).json()["items"][0]
            return dict(served["arms"][0])

        async def is_out() -> bool:
            """By a caller's row, or by one that the champion refused, which it is asked about."""
            await replica.http.post(path, json=evil)
            return str((await arm())["state"]) == "tripped"

        await eventually(is_out)
        why = (await arm())["why"]
        answers = await asyncio.gather(*(replica.infer(ROW) for _ in range(20)))

    assert "did not answer" in why
    assert {answer.status_code for answer in answers} == {200}
