"""What goes wrong ends as a failed run with its reason, announced, and nothing half-done."""

from pathlib import Path

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database import UnitOfWork
from loopwright_common.delivery import RetryPolicy
from loopwright_trainer.execution import run_closing, worker
from loopwright_trainer.execution.executor import RunExecutor
from loopwright_trainer.execution.run_context import RunContext
from loopwright_trainer.git.mirror import CommitDescription, Mirror
from loopwright_trainer.runs import service
from loopwright_trainer.runs.domain import PipelineRun
from loopwright_trainer.runs.run_lease import RunLease
from tests.trainer.git.hostile_trees import commit_described, commit_entries
from tests.trainer.harness import (
    FILES,
    PIPELINE,
    TRAIN,
    RecordingRegistry,
    TrainerHarness,
    Upstream,
    events,
    stages,
    until,
)

CHECKED = PIPELINE + "checks: ['echo looking; exit 3']\n"


async def test_a_failing_stage_says_which_command_and_how(
    trainer: TrainerHarness, upstream: Upstream, registry: RecordingRegistry, bus: SqliteBus
) -> None:
    upstream.commit({"train.py": "print('on my way'); raise SystemExit(7)"})
    run = await trainer.add(upstream)

    assert run["status"] == "failed"
    assert run["why"] == "train: `python train.py` ended with exit code 7"
    assert run["stages"][1]["log_tail"].splitlines()[-1] == "on my way"
    assert registry.versions == []
    assert registry.runs[run["tracking_run_id"]]["info"]["status"] == "FAILED"
    assert (await events(bus, "training-finished"))[0]["status"] == "failed"


async def test_a_failing_check_comes_before_any_stage(
    trainer: TrainerHarness, upstream: Upstream, registry: RecordingRegistry
) -> None:
    upstream.commit({"loopwright.yaml": CHECKED})
    run = await trainer.add(upstream)
    log = await trainer.http.get(
        f"/v1/runs/{run['id']}/log", params={"stage": run["stages"][0]["name"]}
    )

    assert "ended with exit code 3" in run["why"]
    assert list(stages(run).values()) == ["failed", "skipped", "skipped"]
    assert log.text.splitlines()[-1] == "looking"
    assert registry.runs == {}


async def test_a_notebook_with_outputs_fails_the_checks(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    rule = PIPELINE + "checks: [{notebooks: no-outputs}]\n"
    dirty = '{"cells": [{"cell_type": "code", "outputs": [{"text": "1"}]}]}'
    upstream.commit({"loopwright.yaml": rule, "eda/look.ipynb": dirty})
    run = await trainer.add(upstream)

    assert run["status"] == "failed"
    assert "committed with outputs: eda/look.ipynb" in run["why"]


async def test_a_stage_past_its_time_limit_is_killed_with_its_children(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    slow = PIPELINE.replace("cmd: python prepare.py", "cmd: sleep 60 & sleep 60, timeout: 0.2s")
    upstream.commit({"loopwright.yaml": slow})
    run = await trainer.add(upstream)

    assert "was stopped after 0.2 s, its time limit" in run["why"]


async def test_a_missing_output_fails_its_stage(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    upstream.commit({"prepare.py": "pass"})
    run = await trainer.add(upstream)

    assert run["why"] == "prepare: declares out base.txt, but the command did not write it"


async def test_a_flaky_stage_is_tried_again(trainer: TrainerHarness, upstream: Upstream) -> None:
    seen = upstream.beside("seen")
    flaky = f"test -e {seen} || {{ touch {seen}; exit 1; }}; "
    pipeline = PIPELINE.replace(
        "cmd: python prepare.py", f'retries: 1, cmd: "{flaky}python prepare.py"'
    )
    upstream.commit({"loopwright.yaml": pipeline})
    run = await trainer.add(upstream)

    assert run["status"] == "succeeded", run["why"]
    assert run["stages"][0]["attempts"] == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            "model: toy\nstagez: {}\n",
            "loopwright.yaml:1: has no stages, and there is no dvc.yaml\n"
            "loopwright.yaml:2:1: stagez: unknown key; did you mean stages? allowed are ",
        ),
        (
            "model: toy\nstages: {a: {cmd: x, outz: [y]}}\n",
            "loopwright.yaml:2:22: stages.a.outz: unk",
        ),
        ("model: [\n", "loopwright.yaml:2:1: not YAML: "),
    ],
)
async def test_a_bad_pipeline_file_is_told_with_its_line(
    trainer: TrainerHarness, upstream: Upstream, content: str, complaint: str
) -> None:
    upstream.commit({"loopwright.yaml": content})
    run = await trainer.add(upstream)

    assert run["status"] == "failed"
    assert run["why"].startswith(complaint)


async def test_a_commit_too_deep_for_any_directory_fails_by_its_own_fault(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    upstream.commit({"loopwright.yaml": PIPELINE + "checks: ['true']\n"})
    commit_entries(upstream, {b"d/" * 1500 + b"f": b"x"})
    run = await trainer.add(upstream)

    assert (run["status"], run["stages"]) == ("failed", [])
    assert run["why"].endswith("/f: it lies over 64 directories deep")
    upstream.git("reset", "-q", "--hard", "HEAD~1")
    assert (await trainer.push(upstream, {"note": "x"}))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("pipeline", "why"),
    [
        (
            PIPELINE.replace("python prepare.py", "echo, wdir: data.csv").replace(
                "[prepare.py, data.csv]", "[../data.csv]"
            ),
            "prepare: data.csv cannot be written: File exists",
        ),
        (
            PIPELINE.replace("outs: [base.txt]", "outs: [data.csv/base.txt]"),
            "prepare: data.csv cannot be written: File exists",
        ),
    ],
)
async def test_paths_that_contradict_each_other_are_the_commits_fault(
    trainer: TrainerHarness, upstream: Upstream, pipeline: str, why: str
) -> None:
    upstream.commit({"loopwright.yaml": pipeline})
    run = await trainer.add(upstream)

    assert (run["status"], run["why"]) == ("failed", why)


async def test_a_long_check_is_kept_and_run(trainer: TrainerHarness, upstream: Upstream) -> None:
    upstream.commit({"loopwright.yaml": f"{PIPELINE}checks: ['true {'x' * 300}']\n"})
    run = await trainer.add(upstream)

    assert (run["status"], len(run["stages"])) == ("succeeded", 3)


async def test_many_notebooks_with_outputs_are_told_shortly(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    """One that nests deeper than can be read is among them."""
    dirty = dict.fromkeys([f"{n:02d}.ipynb" for n in range(12)], "[" * 100_000)
    upstream.commit({"loopwright.yaml": PIPELINE + "checks: [{notebooks: no-outputs}]\n", **dirty})
    run = await trainer.add(upstream)

    assert "09.ipynb and 2 more; strip them" in run["why"]


async def test_what_one_repository_holds_does_not_stop_the_polling_of_others(
    trainer: TrainerHarness, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_described(upstream, b"\xff@example.org", b"\xff")
    first = await trainer.add(upstream)
    assert first["status"] == "succeeded"

    def fail(mirror: Mirror, commit: str, before: str | None) -> CommitDescription:
        if mirror.directory.name == "odd.git":
            raise RuntimeError("nobody thought of this")
        return describe(mirror, commit, before)

    describe = Mirror.describe
    monkeypatch.setattr(Mirror, "describe", fail)
    odd = Upstream(tmp_path / "odd")
    odd.commit(FILES)
    await trainer.post("/v1/repositories", name="odd", url=str(odd.path))

    async def is_told() -> bool:
        listed = (await trainer.get("/v1/repositories"))["items"]
        return any("nobody thought of this" in (each["problem"] or "") for each in listed)

    await until(is_told)
    assert (await trainer.push(upstream, {"data.csv": "3\n"}))["status"] == "succeeded"


async def test_a_repository_that_is_gone_fails_the_run_and_is_marked(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    await trainer.add(upstream)
    upstream.path.rename(upstream.path.with_name("moved"))
    answer = await trainer.http.post("/v1/repositories/toy/changed")

    assert answer.status_code == 422
    assert "does not appear to be a git repository" in answer.json()["detail"]


async def test_a_registry_that_stays_away_fails_the_run(
    trainer: TrainerHarness, upstream: Upstream, registry: RecordingRegistry
) -> None:
    registry.away = True
    run = await trainer.add(upstream)

    assert run["status"] == "failed"
    assert "registry answered 503" in run["why"]


async def test_a_lost_answer_does_not_register_twice(
    trainer: TrainerHarness, upstream: Upstream, registry: RecordingRegistry
) -> None:
    registry.lost_answers = 1
    run = await trainer.add(upstream)

    assert (run["status"], run["version"], len(registry.versions)) == ("succeeded", 1, 1)


async def test_a_running_run_is_cancelled_with_its_processes(
    trainer: TrainerHarness, upstream: Upstream, bus: SqliteBus
) -> None:
    upstream.commit({"prepare.py": "import time; time.sleep(60)"})
    await trainer.post("/v1/repositories", name="toy", url=str(upstream.path))

    async def runs() -> bool:
        found = (await trainer.get("/v1/runs"))["items"]
        return any(
            [
                "running" in stages(await trainer.get(f"/v1/runs/{run['id']}")).values()
                for run in found
            ]
        )

    await until(runs)
    run_id = (await trainer.get("/v1/runs"))["items"][0]["id"]
    await trainer.post(f"/v1/runs/{run_id}/cancel")
    run = await trainer.ended()

    assert (run["status"], run["why"]) == ("cancelled", "cancelled by a person")
    assert set(stages(run).values()) == {"skipped"}
    assert (await events(bus, "training-finished"))[0]["status"] == "cancelled"


async def test_a_failed_run_is_retried_from_the_stage_that_failed(
    trainer: TrainerHarness, upstream: Upstream, registry: RecordingRegistry
) -> None:
    flaky = f"from pathlib import Path\nseen = Path({str(upstream.beside('seen'))!r})\n"
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


async def test_a_run_that_cannot_be_recorded_is_tried_again_and_ends_no_other(
    trainer: TrainerHarness, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = refuse_to_record(monkeypatch, times=1)
    upstream.commit({"loopwright.yaml": PIPELINE})
    first = await trainer.add(upstream)
    second = await trainer.push(upstream, {"data.csv": "x\n9\n"})

    assert (refused, first["status"]) == ([first["id"]], "succeeded")
    assert first["why"] == "registered toy version 1"
    assert second["status"] == "succeeded"


async def test_an_end_that_is_never_recorded_fails_the_run_with_its_reason(
    trainer: TrainerHarness,
    upstream: Upstream,
    registry: RecordingRegistry,
    bus: SqliteBus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = refuse_to_record(monkeypatch, times=1000)
    read: set[str] = set()

    async def is_explained() -> bool:
        read.update(run["why"] for run in (await trainer.get("/v1/runs"))["items"])
        return any(why.startswith("tries again to record its end: RuntimeError") for why in read)

    await trainer.post("/v1/repositories", name="toy", url=str(upstream.path))
    await until(is_explained)
    run = await trainer.ended()
    (told,) = await events(bus, "training-finished")

    reason = "its end could not be recorded: RuntimeError: this end is not recorded; "
    assert run["why"] == f"{reason}it was to be succeeded: registered toy version 1"
    assert (run["status"], told["status"], told["why"]) == ("failed", "failed", run["why"])
    assert refused == [run["id"]] * 3, "as often as there are pauses, and once more"
    assert registry.runs[run["tracking_run_id"]]["info"]["status"] == "FAILED"
    monkeypatch.undo()
    assert (await trainer.push(upstream, {"data.csv": "x\n9\n"}))["status"] == "succeeded"


async def test_a_run_that_is_interrupted_again_and_again_is_given_up(
    trainer: TrainerHarness, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = list[str]()

    def executor(context: RunContext, run: PipelineRun, lease: RunLease) -> RunExecutor:
        if len(interrupted) < 3:
            interrupted.append(run.id)
            raise RuntimeError("nobody thought of this")
        return RunExecutor(context, run, lease)

    monkeypatch.setattr(worker, "RunExecutor", executor)
    monkeypatch.setattr(worker, "_RETRIES", RetryPolicy(delays=(0.01, 0.01)))
    run = await trainer.add(upstream)

    assert interrupted == [run["id"]] * 3
    why = "a fault of the trainer, 3 times in a row: RuntimeError: nobody thought of this"
    assert (run["status"], run["why"]) == ("failed", why)
    assert (await trainer.push(upstream, {"data.csv": "x\n9\n"}))["status"] == "succeeded"


async def test_more_metrics_than_an_event_holds_do_not_keep_a_run_from_ending(
    trainer: TrainerHarness, upstream: Upstream, bus: SqliteBus
) -> None:
    many = (
        "import json\n"
        "for name in 'ab':\n"
        "    metrics = {f'{name}{n:0150d}': n for n in range(5000)}\n"
        "    json.dump(metrics, open(f'{name}.json', 'w'))\n"
    )
    pipeline = "stages: {many: {cmd: python many.py, deps: [many.py], metrics: [a.json, b.json]}}\n"
    upstream.commit({"loopwright.yaml": pipeline, "many.py": many})
    run = await trainer.add(upstream)
    (told,) = await events(bus, "training-finished")

    assert (run["status"], len(run["stages"][0]["metrics"])) == ("succeeded", 10_000)
    assert [stage["name"] for stage in told["stages"]] == ["many"]


def refuse_to_record(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Have the end of runs not recorded so often, with short pauses; ids of those refused."""
    record_end, refused = service.finish_run, list[str]()

    async def refuse(uow: UnitOfWork, run: PipelineRun, ending: service.RunOutcome) -> PipelineRun:
        if len(refused) < times:
            refused.append(run.id)
            raise RuntimeError("this end is not recorded")
        return await record_end(uow, run, ending)

    monkeypatch.setattr(service, "finish_run", refuse)
    monkeypatch.setattr(run_closing, "_RETRIES", RetryPolicy(delays=(0.1, 0.1)))
    return refused
