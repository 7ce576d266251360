"""Kept results cleared: what goes, what stays, and what is shown first."""

from pathlib import Path
from typing import Any

from tests.trainer.harness import TRAIN, TrainerHarness, Upstream, stages


async def cleared(trainer: TrainerHarness, **rule: Any) -> Any:
    return await trainer.post("/v1/cache/gc", **rule)


async def test_clearing_keeps_the_newest_and_shows_first_what_would_go(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    first = await trainer.add(upstream)
    await trainer.push(upstream, {"train.py": TRAIN + "# again\n"})
    shown = await cleared(trainer, keep=1, dry_run=True)
    done = await cleared(trainer, keep=1)
    nothing = await cleared(trainer)
    run = await trainer.push(upstream, {"train.py": TRAIN})

    assert shown["items"] == done["items"]
    assert [(item["stage"], item["run_id"]) for item in done["items"]] == [("train", first["id"])]
    assert done["items"][0]["why"] == "1 newer ones of this stage are kept"
    assert (done["bytes_freed"], done["bytes_left"] > 0) == (0, True), "files may be shared"
    assert nothing["items"] == []
    assert stages(run) == {"prepare": "reused", "train": "ran"}


async def test_clearing_forgets_what_is_old_and_what_has_lost_its_outputs(
    trainer: TrainerHarness, upstream: Upstream, tmp_path: Path
) -> None:
    first = await trainer.add(upstream)
    digest = first["stages"][0]["outputs"]["base.txt"].removeprefix("sha256:")
    (tmp_path / "artifacts" / "sha256" / digest[:2] / digest).unlink()
    lost = await cleared(trainer, older_than_seconds=3600)
    old = await cleared(trainer, older_than_seconds=0)

    assert [item["why"] for item in lost["items"]] == ["out base.txt is gone from the store"]
    assert [(item["stage"], item["why"]) for item in old["items"]] == [
        ("train", "older than asked for")
    ]
