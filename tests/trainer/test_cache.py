"""Kept results explained and cleared, and ended runs done again."""

from pathlib import Path
from typing import Any

from tests.trainer.builders import PIPELINE, TRAIN, Registry, Trainer, Upstream, stages, why


async def explained(trainer: Trainer, query: str) -> dict[str, Any]:
    """What is told, by stage."""
    told = await trainer.get(f"/v1/cache/explain?{query}")
    return {stage["name"]: stage for stage in told["stages"]}


async def cleared(trainer: Trainer, **rule: Any) -> Any:
    return await trainer.post("/v1/cache/gc", **rule)


async def test_a_pipeline_whose_head_has_run_would_be_reused(
    trainer: Trainer, upstream: Upstream
) -> None:
    run = await trainer.add(upstream)
    told = await explained(trainer, "pipeline=toy")

    assert [stage["verdict"] for stage in told.values()] == ["reused", "reused"]
    assert told["train"]["key"] == run["stages"][1]["key"]
    assert told["train"]["nearest"]["run_id"] == run["id"]
    assert told["train"]["parts"]["params"] == {"params.yaml": {"train.rate": 0.5}}
    assert told["train"]["differences"] == []


async def test_what_differs_from_the_nearest_result_is_told_before_the_run(
    trainer: Trainer, upstream: Upstream
) -> None:
    """Down to the param; and what nobody can know yet is called unknown."""
    await trainer.add(upstream)
    failing = {"params.yaml": "train: {rate: 0.7}\n", "prepare.py": "raise SystemExit(1)"}
    run = await trainer.push(upstream, failing)
    told = await explained(trainer, f"run={run['id']}")
    await trainer.push(upstream, {"params.yaml": "train: {rate: 0.9}\n", "prepare.py": None,
                                  "loopwright.yaml": PIPELINE.replace("prepare.py", "train.py"),
                                  "train.py": "raise SystemExit(1)"})  # fmt: skip
    newest = await explained(trainer, "pipeline=toy&stage=train")

    assert told["prepare"]["verdict"] == "would run"
    assert told["prepare"]["differences"] == ["dep prepare.py changed"]
    assert told["train"]["verdict"] == "unknown"
    assert told["train"]["why"] == "dep base.txt is known once stage prepare has run"
    assert list(newest) == ["train"]


async def test_a_run_is_explained_with_the_outputs_of_its_own_stages(
    trainer: Trainer, upstream: Upstream
) -> None:
    await trainer.add(upstream)
    changed = {
        "data.csv": "3\n",
        "params.yaml": "train: {rate: 0.7}\n",
        "train.py": "raise SystemExit(1)",
    }
    run = await trainer.push(upstream, changed)
    told = await explained(trainer, f"run={run['id']}")

    assert (told["prepare"]["verdict"], told["train"]["verdict"]) == ("reused", "would run")
    assert told["train"]["differences"] == [
        "dep base.txt changed",
        "dep train.py changed",
        "param train.rate changed from 0.5 to 0.7",
    ]


async def test_what_is_not_there_cannot_be_explained(trainer: Trainer, upstream: Upstream) -> None:
    await trainer.add(upstream)
    answers = {
        query: (await trainer.http.get(f"/v1/cache/explain?{query}")).status_code
        for query in (
            "pipeline=nope",
            "run=nope",
            "pipeline=toy&stage=nope",
            "",
            "pipeline=a&run=b",
        )
    }

    assert list(answers.values()) == [404, 404, 404, 422, 422]


async def test_clearing_keeps_the_newest_and_shows_first_what_would_go(
    trainer: Trainer, upstream: Upstream
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
    trainer: Trainer, upstream: Upstream, tmp_path: Path
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


async def test_a_failed_run_is_retried_from_the_stage_that_failed(
    trainer: Trainer, upstream: Upstream, registry: Registry
) -> None:
    flaky = f"from pathlib import Path\nseen = Path({str(upstream.path)!r} + '.seen')\n"
    flaky += "if not seen.exists():\n seen.touch()\n raise SystemExit(1)\n"
    upstream.commit({"train.py": flaky + TRAIN})
    failed = await trainer.add(upstream)
    asked = await trainer.post(f"/v1/runs/{failed['id']}/retry", by="ada")
    run = await trainer.ended(run_id=asked["id"])

    assert (failed["status"], run["status"]) == ("failed", "succeeded")
    assert (run["commit"], run["retry_of"]) == (failed["commit"], failed["id"])
    assert asked["why"] == f"retry of run {failed['id']} by ada"
    assert stages(run) == {"prepare": "reused", "train": "ran"}
    assert run["chain_id"] == failed["chain_id"]


async def test_params_that_json_cannot_hold_are_kept_too(
    trainer: Trainer, upstream: Upstream
) -> None:
    upstream.commit({"params.yaml": "train: {rate: .nan, since: 2026-01-01}\n",
                     "loopwright.yaml": PIPELINE.replace("[train.rate]", "[train]"),
                     "train.py": TRAIN.replace("'loss': rate", "'loss': 1")})  # fmt: skip
    first = await trainer.add(upstream)
    again = await trainer.push(upstream, {"README.md": "hello"})

    assert first["status"] == "succeeded", first["why"]
    assert why(again, "train").startswith("same command, inputs, params")


async def test_the_log_of_every_attempt_is_kept_in_the_store(
    trainer: Trainer, upstream: Upstream, tmp_path: Path
) -> None:
    printed = "print('hello')\n"
    upstream.commit({"train.py": printed + TRAIN})
    run = await trainer.add(upstream)
    for file in (tmp_path / "trainer" / "runs").rglob("*.log"):
        file.unlink()
    log = await trainer.http.get(f"/v1/runs/{run['id']}/log?stage=train&attempt=1")

    assert log.text == "$ python train.py\nhello\n"
