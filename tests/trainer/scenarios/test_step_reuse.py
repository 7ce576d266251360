"""Step reuse: one test for each thing that users of other systems complain about."""

from pathlib import Path

import pytest

from tests.trainer.harness import (
    FILES,
    PIPELINE,
    TRAIN,
    RecordingRegistry,
    TrainerHarness,
    Upstream,
    stages,
    why,
)

# What a key is made of is the same whatever keeps it.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HELPED = PIPELINE.replace("deps: [train.py,", "deps: [train.py, helper.py,")


async def test_an_unrelated_commit_reuses_everything_and_registers_nothing(
    trainer: TrainerHarness, upstream: Upstream, registry: RecordingRegistry
) -> None:
    first = await trainer.add(upstream)
    run = await trainer.push(upstream, {"README.md": "hello"})

    assert stages(run) == {"prepare": "reused", "train": "reused"}
    assert run["status"] == "unchanged"
    assert len(registry.versions) == 1
    assert f"as in run {first['id']}" in why(run, "train")
    assert len(registry.runs) == 1, "no empty tracking run for a run that ran nothing"


async def test_a_changed_helper_file_runs_its_stage(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    upstream.commit({"helper.py": "A = 1", "loopwright.yaml": HELPED})
    await trainer.add(upstream)
    run = await trainer.push(upstream, {"helper.py": "A = 2"})

    assert stages(run) == {"prepare": "reused", "train": "ran"}
    assert why(run, "train") == "dep helper.py changed"


async def test_replaced_data_runs_its_stage(trainer: TrainerHarness, upstream: Upstream) -> None:
    await trainer.add(upstream)
    run = await trainer.push(upstream, {"data.csv": "3,4\n"})

    assert stages(run) == {"prepare": "ran", "train": "ran"}
    assert why(run, "prepare") == "dep data.csv changed"
    assert why(run, "train") == "dep base.txt changed"


async def test_the_same_output_cuts_off_what_follows(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    await trainer.add(upstream)
    run = await trainer.push(upstream, {"prepare.py": FILES["prepare.py"] + "# comment\n"})

    assert stages(run) == {"prepare": "ran", "train": "reused"}
    assert run["status"] == "unchanged"


async def test_arguments_of_the_command_are_in_the_key(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    await trainer.add(upstream)
    changed = PIPELINE.replace("cmd: python train.py", "cmd: python train.py --fast")
    run = await trainer.push(upstream, {"loopwright.yaml": changed})

    assert stages(run) == {"prepare": "reused", "train": "ran"}
    assert why(run, "train") == "the command changed"


async def test_a_changed_param_is_named_with_both_values(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    await trainer.add(upstream)
    run = await trainer.push(upstream, {"params.yaml": "train: {rate: 0.7}\nother: 1\n"})

    assert stages(run) == {"prepare": "reused", "train": "ran"}
    assert why(run, "train") == "param train.rate changed from 0.5 to 0.7"
    assert run["version"] == 2


async def test_a_param_that_is_not_declared_does_not_matter(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    await trainer.add(upstream)
    run = await trainer.push(upstream, {"params.yaml": "train: {rate: 0.5}\nother: 2\n"})

    assert stages(run) == {"prepare": "reused", "train": "reused"}


async def test_going_back_to_an_earlier_commit_reuses_its_results(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    await trainer.add(upstream)
    await trainer.push(upstream, {"data.csv": "3,4\n"})
    run = await trainer.push(upstream, {"data.csv": "1,2\n"})

    assert stages(run) == {"prepare": "reused", "train": "reused"}
    assert run["version"] == 3, "the newest version follows from other steps"


async def test_an_output_deleted_from_the_store_makes_its_stage_run(
    trainer: TrainerHarness, upstream: Upstream, tmp_path: Path
) -> None:
    first = await trainer.add(upstream)
    digest = first["stages"][0]["outputs"]["base.txt"].removeprefix("sha256:")
    (tmp_path / "artifacts" / "sha256" / digest[:2] / digest).unlink()
    run = await trainer.push(upstream, {"README.md": "again"})

    assert stages(run) == {"prepare": "ran", "train": "reused"}
    assert "out base.txt of run" in why(run, "prepare")


async def test_a_damaged_output_makes_its_stage_run(
    trainer: TrainerHarness, upstream: Upstream, tmp_path: Path
) -> None:
    first = await trainer.add(upstream)
    digest = first["stages"][0]["outputs"]["base.txt"].removeprefix("sha256:")
    (tmp_path / "artifacts" / "sha256" / digest[:2] / digest).write_bytes(b"1,3\n1,2\n")
    run = await trainer.push(upstream, {"data.csv": "1,2\n", "README.md": "again"})

    assert stages(run)["prepare"] == "ran"
    assert "gone from the store or damaged" in why(run, "prepare")


async def test_a_stage_that_edits_its_input_is_not_kept(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    upstream.commit({"prepare.py": FILES["prepare.py"] + "Path('data.csv').write_text('9')\n"})
    first = await trainer.add(upstream)
    run = await trainer.push(upstream, {"README.md": "again"})

    assert "not kept for reuse: data.csv changed while it ran" in why(first, "prepare")
    assert stages(run) == {"prepare": "ran", "train": "reused"}


async def test_a_file_that_is_not_declared_is_not_there(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    upstream.commit({"secret.txt": "s", "train.py": "open('secret.txt')\n" + TRAIN})
    run = await trainer.add(upstream)

    assert run["status"] == "failed"
    assert stages(run) == {"prepare": "ran", "train": "failed"}
    assert "No such file or directory: 'secret.txt'" in run["stages"][1]["log_tail"]


async def test_cache_false_always_runs_and_leaves_the_next_stage_cached(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    off = PIPELINE.replace("outs: [base.txt]", "outs: [base.txt], cache: false")
    upstream.commit({"loopwright.yaml": off})
    await trainer.add(upstream)
    run = await trainer.push(upstream, {"README.md": "again"})

    assert stages(run) == {"prepare": "ran", "train": "reused"}
    assert why(run, "prepare") == "cache: false"


async def test_a_frozen_stage_keeps_its_last_result(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    await trainer.add(upstream)
    frozen = PIPELINE.replace("outs: [base.txt]", "outs: [base.txt], frozen: true")
    run = await trainer.push(upstream, {"loopwright.yaml": frozen, "data.csv": "7"})

    assert stages(run) == {"prepare": "reused", "train": "reused"}
    assert why(run, "prepare").startswith("frozen: the result of run")


async def test_checks_are_reused_while_the_tree_is_the_same(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    upstream.commit({"loopwright.yaml": PIPELINE + "checks: [python -m compileall -q .]\n"})
    await trainer.add(upstream)
    asked = await trainer.post("/v1/runs", pipeline="toy")
    run = await trainer.ended(run_id=asked["id"])

    assert set(stages(run).values()) == {"reused"}
    assert (run["reason"], run["status"]) == ("person", "unchanged")


async def test_a_bare_dvc_project_runs_with_its_whole_tree(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    dvc = "stages:\n  go:\n    cmd: cat data.csv hidden.txt > out.txt\n    deps: [data.csv]\n"
    upstream.commit({"loopwright.yaml": None, "dvc.yaml": dvc + "    outs: [out.txt]\n",
                     "hidden.txt": "1"})  # fmt: skip
    first = await trainer.add(upstream)
    run = await trainer.push(upstream, {"hidden.txt": "2"})

    assert first["status"] == "succeeded"
    assert "say in loopwright.yaml which `model:` it is" in first["why"]
    assert "no out of a stage holds an MLflow package" in first["why"]
    assert (stages(run), why(run, "go")) == ({"go": "ran"}, "dep . changed")
