"""What a run takes from the world: changed paths, captured rows, a person's request."""

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.storage.captured_dataset import Manifest
from loopwright_common.storage.filesystem import FilesystemStore
from tests.trainer.harness import PIPELINE, TRAIN, TrainerHarness, Upstream, events, stages, why

CAPTURED = PIPELINE.replace("base.txt]\n    params", "base.txt, data/captured]\n    params")
PATHS = 'triggers: {code: {paths: ["**/*.py"]}}\n'


async def test_a_change_outside_the_trigger_paths_is_skipped_and_not_announced(
    trainer: TrainerHarness, upstream: Upstream, bus: SqliteBus
) -> None:
    upstream.commit({"loopwright.yaml": PIPELINE + PATHS})
    await trainer.add(upstream)
    run = await trainer.push(upstream, {"README.md": "hello"})
    ran = await trainer.push(upstream, {"train.py": TRAIN + "# changed\n"})

    assert run["status"] == "skipped"
    assert run["why"] == "none of the 1 changed paths is in triggers.code.paths"
    assert ran["status"] == "succeeded"
    assert len(await events(bus, "training-finished", 2)) == 2


async def test_captured_rows_are_an_input_known_by_their_manifest(
    trainer: TrainerHarness, upstream: Upstream, store: FilesystemStore
) -> None:
    check = "import pathlib\nassert pathlib.Path('data/captured/captured.parquet').exists()\n"
    upstream.commit(
        {"loopwright.yaml": CAPTURED + "captured: data/captured\n", "train.py": check + TRAIN}
    )
    first = await trainer.add(upstream)
    manifest = Manifest(model_id="m", model="toy", files=(), labels=(), rows=0, labelled=0)
    pinned = await store.put(manifest.to_bytes())
    asked = await trainer.post("/v1/runs", pipeline="toy", captured=pinned.digest)
    run = await trainer.ended(run_id=asked["id"])

    assert first["status"] == "succeeded", first["why"]
    assert run["captured"] == pinned.digest
    assert stages(run) == {"prepare": "reused", "train": "ran"}
    assert why(run, "train") == "dep data/captured changed"


async def test_a_request_by_a_person_starts_one_run(
    trainer: TrainerHarness, upstream: Upstream, bus: SqliteBus
) -> None:
    await trainer.add(upstream)
    asked = await trainer.post("/v1/runs", repository="toy", by="ada", why="to be sure")
    run = await trainer.ended(run_id=asked["id"])
    again = await trainer.push(upstream, {"data.csv": "5"})

    assert (run["reason"], run["why"].split()[0]) == ("person", "the")
    assert (await events(bus, "retrain-requested"))[0]["requested_by"] == "ada"
    assert len((await trainer.get("/v1/runs"))["items"]) == 3
    assert again["status"] == "succeeded"
