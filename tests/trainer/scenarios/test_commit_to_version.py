"""From a commit to a version, through the API, with real git and real processes."""

import json

from loopwright_common.bus.sqlite.bus import SqliteBus
from tests.trainer.harness import RecordingRegistry, TrainerHarness, Upstream, events, stages


async def test_a_commit_becomes_a_registered_version(
    trainer: TrainerHarness, upstream: Upstream, registry: RecordingRegistry, bus: SqliteBus
) -> None:
    run = await trainer.add(upstream)

    assert (run["status"], run["version"]) == ("succeeded", 1), run["why"]
    assert stages(run) == {"prepare": "ran", "train": "ran"}
    version = registry.versions[0]
    assert version["name"] == "toy"
    assert version["source"] == f"runs:/{run['tracking_run_id']}/package"
    assert version["tags"]["loopwright.run"] == run["id"]
    assert registry.metrics == {"loss": 0.5, "slices.a": 1.0}
    uploaded = {path.split("/artifacts/")[1]: body for path, body in registry.artifacts.items()}
    assert uploaded["package/weights"] == b"0.5 1,2\n1,2\n"
    finished = (await events(bus, "training-finished"))[0]
    assert finished["run_id"] == run["id"]
    assert finished["version"] == 1
    cause = json.loads(version["cause"])
    assert cause["event_ids"] == run["causes"]


DVC = """
stages:
  prepare: {cmd: python prepare.py, deps: [prepare.py, data.csv], outs: [base.txt]}
  train:
    cmd: mkdir -p models && cd models && cp ../base.txt ../params.yaml . && python ../train.py
    deps: [train.py, base.txt]
    params: [train.rate]
    outs: [models]
"""


async def test_the_only_package_of_a_bare_dvc_project_is_registered_by_its_name(
    trainer: TrainerHarness, upstream: Upstream, registry: RecordingRegistry
) -> None:
    upstream.commit({"loopwright.yaml": None, "dvc.yaml": DVC})

    run = await trainer.add(upstream)

    assert (run["status"], run["version"]) == ("succeeded", 1), run["why"]
    assert registry.versions[0]["name"] == run["repository"]
    uploaded = {path.split("/artifacts/")[1] for path in registry.artifacts}
    assert uploaded == {"package/MLmodel", "package/weights"}
    later = await trainer.push(upstream, {"params.yaml": "train: {rate: 0.25}\n"})
    assert later["version"] == 2


async def test_of_several_packages_of_a_bare_dvc_project_none_is_registered(
    trainer: TrainerHarness, upstream: Upstream, registry: RecordingRegistry
) -> None:
    two = DVC.replace("python ../train.py", "python ../train.py && cp -r package second")
    upstream.commit({"loopwright.yaml": None, "dvc.yaml": two})

    run = await trainer.add(upstream)

    assert (run["status"], registry.versions) == ("succeeded", [])
    assert "say in loopwright.yaml which `model:` it is" in run["why"]
    assert "the outs hold 2 MLflow packages: models/package, models/second" in run["why"]
