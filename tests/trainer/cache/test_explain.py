"""Kept results explained: what each stage would do now, and why."""

from typing import Any

from tests.trainer.harness import PIPELINE, TrainerHarness, Upstream


async def explained(trainer: TrainerHarness, query: str) -> dict[str, Any]:
    """What is told, by stage."""
    told = await trainer.get(f"/v1/cache/explain?{query}")
    return {stage["name"]: stage for stage in told["stages"]}


async def test_a_pipeline_whose_head_has_run_would_be_reused(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    run = await trainer.add(upstream)
    told = await explained(trainer, "pipeline=toy")

    assert [stage["verdict"] for stage in told.values()] == ["reused", "reused"]
    assert told["train"]["key"] == run["stages"][1]["key"]
    assert told["train"]["nearest"]["run_id"] == run["id"]
    assert told["train"]["parts"]["params"] == {"params.yaml": {"train.rate": 0.5}}
    assert told["train"]["differences"] == []


async def test_what_differs_from_the_nearest_result_is_told_before_the_run(
    trainer: TrainerHarness, upstream: Upstream
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
    trainer: TrainerHarness, upstream: Upstream
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


async def test_what_is_not_there_cannot_be_explained(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
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
