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
