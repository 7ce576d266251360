"""Several trainers on one PostgreSQL: each run is done once, and goes on where a trainer dies."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.database.delivery_tables import outbox
from loopwright_trainer.steps import orphans
from tests.leases import expire_leases, for_sleepers
from tests.trainer.harness import (
    PREPARE,
    TRAIN,
    RecordingRegistry,
    TrainerHarness,
    Upstream,
    running,
    stages,
    until,
    why,
)
from tests.trainer.scenarios.test_crash_recovery import serving

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
Start = Callable[[str], Awaitable[Process]]
ONE_STAGE = "stages: {go: {cmd: python go.py, deps: [go.py], outs: [done.txt]%s}}\n"
NOTE = "import os\nfrom pathlib import Path\nos.umask(0)\nbeside = Path({beside!r})\n"
LOG_A_METRIC = """
import json, urllib.request
metric = {"run_id": os.environ["MLFLOW_RUN_ID"], "metrics": [{"key": "early", "value": 1.0}]}
at = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-batch"
proof = {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}
urllib.request.urlopen(urllib.request.Request(at, json.dumps(metric).encode(), proof))
"""
DONE = "Path('done.txt').write_text('done')\n"


@pytest.fixture
async def api(
    tmp_path: Path, bus: SqliteBus, registry: RecordingRegistry, database_url: str
) -> AsyncGenerator[TrainerHarness, None]:
    """A replica that answers requests and does no runs."""
    given = {"database_url": database_url, "directory": tmp_path / "api"}
    async with running(tmp_path, bus, registry, working=False, **given) as trainer:
        yield trainer


@pytest.fixture
async def start(
    tmp_path: Path, registry: RecordingRegistry, database_url: str, api: TrainerHarness
) -> AsyncGenerator[Start, None]:
    """Starts a replica by the name of its host."""
    started = []
    async with serving(registry) as url:

        async def start(name: str) -> Process:
            process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "tests.trainer.replica_process",
                    tmp_path / name,
                    url,
                    name,
                ),
                env={**os.environ, "LOOPWRIGHT_DATABASE_URL": for_sleepers(database_url)},
                cwd=Path(__file__).parents[3],
            )
            started.append(process)
            return process

        yield start
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


def beside(upstream: Upstream) -> str:
    """Python that gives a stage the path of a file that stays."""
    return NOTE.format(beside=str(upstream.beside("noted")))


def noted(upstream: Upstream) -> str:
    return upstream.noted("noted")


async def ask(api: TrainerHarness, upstream: Upstream, *names: str) -> list[str]:
    """Register the repository under each name and ask for a run of each; their ids."""
    asked = []
    for name in names:
        await api.post("/v1/repositories", name=name, url=str(upstream.path))
        asked.append((await api.post("/v1/runs", repository=name))["id"])
    return asked


async def stage_is(api: TrainerHarness, run_id: str, stage: str, outcome: str) -> None:
    async def there() -> bool:
        return stages(await api.get(f"/v1/runs/{run_id}")).get(stage) == outcome

    await until(there)


async def finished(api: TrainerHarness) -> int:
    """How often the end of a run was said."""
    async with api.database.read() as connection:
        said = sa.select(sa.func.count()).where(outbox.c.aggregatetype == "training-finished")
        return int(await connection.scalar(said) or 0)


def slow_at_first(upstream: Upstream) -> dict[str, str]:
    """`prepare` notes that it ran; `train` logs a metric, and does not end at first."""
    slow = f"{beside(upstream)}{LOG_A_METRIC}" + (
        "import time\nfirst = 'begun' not in beside.read_text()\n"
        "beside.open('a').write(' begun')\nfirst and time.sleep(300)\n"
    )
    note = beside(upstream) + "beside.open('a').write('prepared')\n"
    return {"prepare.py": note + PREPARE, "train.py": slow + TRAIN}


async def test_a_run_of_a_killed_trainer_goes_on_with_another(
    api: TrainerHarness, start: Start, upstream: Upstream, registry: RecordingRegistry
) -> None:
    upstream.commit(slow_at_first(upstream))
    (run_id,) = await ask(api, upstream, "toy")
    first = await start("one")
    await has_begun(upstream)
    await start("two")
    first.kill()
    await first.wait()
    await expire_leases(api.database)
    run = await api.ended(run_id=run_id)

    assert run["status"] == "succeeded", run["why"]
    assert noted(upstream).count("prepared") == 1, "the finished stage is not repeated"
    assert [version["tags"]["loopwright.run"] for version in registry.versions] == [run_id]
    assert (len(registry.runs), await finished(api)) == (1, 1)


async def test_a_trainer_that_wakes_after_another_took_over_changes_nothing(
    api: TrainerHarness, start: Start, upstream: Upstream, registry: RecordingRegistry
) -> None:
    upstream.commit(slow_at_first(upstream))
    (run_id,) = await ask(api, upstream, "toy")
    first = await start("one")
    await has_begun(upstream)
    token = registry.bearers[-1]
    first.send_signal(signal.SIGSTOP)
    await expire_leases(api.database)
    await start("two")
    run = await api.ended(run_id=run_id)

    assert has_processes(run_id), "the stage is on a host that the other cannot reach"
    late = await write_metric(registry, run["tracking_run_id"], token)
    first.send_signal(signal.SIGCONT)

    async def killed() -> bool:
        return not has_processes(run_id)

    await until(killed)
    assert run["status"] == "succeeded", run["why"]
    assert late == 403, "a superseded attempt writes no metrics"
    assert registry.tokens[run["tracking_run_id"]][1] == 2
    assert await api.get(f"/v1/runs/{run_id}") == run
    assert (len(registry.versions), await finished(api)) == (1, 1)


async def has_begun(upstream: Upstream) -> None:
    """Until the first attempt of `train` will not end by itself."""

    async def noted_it() -> bool:
        return "begun" in noted(upstream)

    await until(noted_it)


def has_processes(run_id: str) -> bool:
    """Whether something runs that belongs to the run."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(orphans.MARK) == run_id:
                return True
    return False


async def write_metric(registry: RecordingRegistry, run_id: str, token: str) -> int:
    """The registry's status for what the attempt with this token logs."""
    transport = httpx.ASGITransport(registry.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as http:
        answer = await http.post(
            "/api/2.0/mlflow/runs/log-batch",
            json={"run_id": run_id, "metrics": [{"key": "late", "value": 1.0}]},
            headers={"authorization": f"Bearer {token}"},
        )
    return answer.status_code


async def test_two_trainers_do_each_waiting_run_once(
    api: TrainerHarness, start: Start, upstream: Upstream
) -> None:
    note = beside(upstream) + "beside.open('a').write(os.environ['LOOPWRIGHT_RUN'] + ' ')\n"
    pipeline = ONE_STAGE % ", cache: false"
    upstream.commit({"loopwright.yaml": pipeline, "go.py": note + DONE})
    asked = await ask(api, upstream, *(f"toy-{number}" for number in range(10)))
    await asyncio.gather(start("one"), start("two"))
    ended = [await api.ended(run_id=run_id) for run_id in asked]

    assert {run["status"] for run in ended} == {"succeeded"}
    assert Counter(noted(upstream).split()) == Counter(asked)
    assert await finished(api) == 10


@pytest.mark.parametrize("fails", [False, True])
async def test_equal_steps_at_one_time_run_once_unless_the_first_fails(
    api: TrainerHarness, start: Start, upstream: Upstream, fails: bool
) -> None:
    go = beside(upstream) + (
        "import time\nfirst = not beside.exists()\nbeside.open('a').write('x')\n"
        "while first and not beside.with_name('noted.go').exists(): time.sleep(0.02)\n"
        f"if first and {fails}: raise SystemExit(1)\n"
    )
    upstream.commit({"loopwright.yaml": ONE_STAGE % "", "go.py": go + DONE})
    asked = await ask(api, upstream, "toy-1", "toy-2")
    await asyncio.gather(start("one"), start("two"))
    told = await said_while_waiting(api, asked)
    let_go(upstream)
    in_order = sorted(asked, key=lambda run_id: run_id == told[0])
    first, second = [await api.ended(run_id=run_id) for run_id in in_order]

    assert told[1] == f"waits for run {first['id']} which runs the same"
    if fails:
        assert (first["status"], stages(second), noted(upstream)) == ("failed", {"go": "ran"}, "xx")
    else:
        assert (stages(second), noted(upstream)) == ({"go": "reused"}, "x")
        assert why(second, "go").endswith(
            f"run {first['id']} (commit {first['commit'][:7]}), waited for"
        )


def let_go(upstream: Upstream) -> None:
    """The step that another waits for may end."""
    upstream.beside("noted.go").touch()


async def said_while_waiting(api: TrainerHarness, asked: list[str]) -> tuple[str, str]:
    """The run that waits, and why."""
    async with asyncio.timeout(240):
        while True:
            for run_id in asked:
                for stage in (await api.get(f"/v1/runs/{run_id}"))["stages"]:
                    if "waits for run" in stage["why"]:
                        return run_id, stage["why"]
            await asyncio.sleep(0.02)


async def test_any_replica_cancels_a_run_and_tells_its_log(
    api: TrainerHarness, start: Start, upstream: Upstream
) -> None:
    go = "import time\nprint('on my way')\ntime.sleep(300)\n"
    upstream.commit({"loopwright.yaml": ONE_STAGE % "", "go.py": go})
    (run_id,) = await ask(api, upstream, "toy")
    await start("one")
    await stage_is(api, run_id, "go", "running")
    live: Any = await api.http.get(f"/v1/runs/{run_id}/log?stage=go")
    await api.post(f"/v1/runs/{run_id}/cancel")
    run = await api.ended(run_id=run_id)
    kept = await api.http.get(f"/v1/runs/{run_id}/log?stage=go")

    assert live.text == "(go runs on one; its log can be read here once it has ended)\n"
    assert (run["status"], run["why"]) == ("cancelled", "cancelled by a person")
    assert kept.text.splitlines()[0] == "$ python go.py"
