"""What a stage of a hostile repository cannot do, at each level that this machine permits.

One run tries everything that leaves the trainer as it was; what ends a stage has a run each.
"""

import hashlib
import json
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.sandbox import Level, detect
from loopwright_common.storage import open_store
from loopwright_trainer import main
from tests.trainer.harness import (
    RecordingRegistry,
    TrainerHarness,
    Upstream,
    running,
    until,
)

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PIPELINE = (
    "model: toy\n"
    "stages: {hostile: {cmd: python hostile.py, deps: [hostile.py], outs: [found.json]}}\n"
)
# Each attempt succeeds in a stage that nothing confines.
ATTEMPTS = """
import json, os, pathlib, signal, socket, subprocess, urllib.error, urllib.request
data, port, trainer = pathlib.Path({data!r}), {port}, {trainer}
registry, run_id = os.environ["MLFLOW_TRACKING_URI"], os.environ["MLFLOW_RUN_ID"]

def outcome(attempt):
    try:
        return str(attempt())
    except (OSError, ValueError) as error:
        return f"refused: {{type(error).__name__}} {{getattr(error, 'code', '')}}"

def call(path, method="GET", body=None):
    proof = {{"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}}
    request = urllib.request.Request(registry + path, body, proof, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return "answered " + response.read().decode()

def write(path):
    with open(path, "w") as file:
        file.write("x")

def any_secret():
    for environment in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if "not for stages" in environment.read_text():
                return "secret"
        except OSError:
            continue
    raise PermissionError

def list_data():
    # Inside namespaces there is the way to its own workspace, and nothing else.
    if set(os.listdir(data)) == {{"trainer"}}:
        raise FileNotFoundError

def connect():
    socket.create_connection(("127.0.0.1", port), timeout=10).close()

def bomb():
    started = []
    try:
        while len(started) < 400:
            started.append(subprocess.Popen(["sleep", "100"]))
    finally:
        for process in started:
            process.kill()

def orphan():
    subprocess.Popen(["sleep", "{orphan}"], start_new_session=True)

attempts = {{
    "read the trainer's environment": lambda: open(f"/proc/{{trainer}}/environ").read(),
    "read a secret of any process": any_secret,
    "read the trainer's memory": lambda: open(f"/proc/{{trainer}}/mem", "rb").read(0),
    "read another run's directory": lambda: os.listdir(data / "trainer" / "runs" / "other"),
    "read the data directory": list_data,
    "read a key": lambda: (data / "prediction.key").read_text(),
    "write into the data directory": lambda: write(data / "written"),
    "write outside": lambda: write("/var/tmp/loopwright-was-here"),
    "read passwords": lambda: open("/etc/shadow").read(),
    "connect elsewhere": connect,
    "signal the trainer": lambda: os.kill(trainer, 0),
    "take over a run": lambda: call("/v1/runs/x/token", "PUT", b"{{}}"),
    "register a version": lambda: call("/api/2.0/mlflow/model-versions/create", "POST", b"{{}}"),
    "leave the registry's API": lambda: call("/api/2.0/mlflow/../../../v1/models"),
    "read the registry": lambda: call("/api/2.0/mlflow/runs/get?run_id=" + run_id),
    "leave an orphan": orphan,
    "start processes without end": bomb,
}}
"""
RUN_ATTEMPTS = """
found = {name: outcome(attempt) for name, attempt in attempts.items()}
found["token"] = os.environ["MLFLOW_TRACKING_TOKEN"]
pathlib.Path("found.json").write_text(json.dumps(found))
"""
# What an unconfined stage did, and must be refused; the rest has an assertion of its own.
REFUSED_ALWAYS = {
    "read the trainer's environment",
    "read a secret of any process",
    "read the trainer's memory",
    "read another run's directory",
    "read the data directory",
    "read a key",
    "write outside",
    "read passwords",
    "connect elsewhere",
    "signal the trainer",
    "take over a run",
    "register a version",
    "leave the registry's API",
}


@pytest.fixture(params=[Level.NAMESPACE, Level.PROCESS], ids=str)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Level:
    wanted: Level = request.param
    found = detect(wanted)
    if found.level is not wanted:
        pytest.skip(f"this machine permits no more than {found.level}: {found.why_not_more}")
    monkeypatch.setattr(main, "require", lambda _: found)
    return wanted


@pytest.fixture
async def confined(
    level: Level, tmp_path: Path, bus: SqliteBus, registry: RecordingRegistry, database_url: str
) -> AsyncGenerator[TrainerHarness, None]:
    given: dict[str, Any] = {
        "database_url": database_url,
        "stage_disk": 64 << 20,
        "stage_processes": 100,
    }
    (tmp_path / "trainer" / "runs" / "other").mkdir(parents=True)
    (tmp_path / "prediction.key").write_text("secret")
    async with running(tmp_path, bus, registry, stage_writable="", **given) as trainer:
        yield trainer


async def found_by(
    trainer: TrainerHarness, upstream: Upstream, tmp_path: Path, orphan: str
) -> tuple[Any, Mapping[str, str]]:
    """The run, and what came of each attempt."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        attempts = ATTEMPTS.format(
            data=str(tmp_path), port=elsewhere.getsockname()[1], trainer=os.getpid(), orphan=orphan
        )
        upstream.commit({"loopwright.yaml": PIPELINE, "hostile.py": attempts + RUN_ATTEMPTS})
        run = await trainer.add(upstream)
    assert run["status"] == "succeeded", (run["why"], run["stages"])
    store = open_store(f"file://{tmp_path / 'artifacts'}")
    return run, json.loads(await store.get(run["stages"][0]["outputs"]["found.json"]))


async def test_a_stage_cannot(
    confined: TrainerHarness,
    upstream: Upstream,
    level: Level,
    tmp_path: Path,
    registry: RecordingRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_SECRET", "not for stages")
    orphan = str(400 + os.getpid() / 10**9)
    run, found = await found_by(confined, upstream, tmp_path, orphan)

    assert run["stages"][0]["sandbox"] == level
    done = {name for name in REFUSED_ALWAYS if not found[name].startswith("refused")}
    assert done == set(), found
    assert "not for stages" not in json.dumps(found)
    assert found["read the registry"].startswith("answered")
    digest = registry.tokens[run["tracking_run_id"]][0]
    assert hashlib.sha256(found["token"].encode()).hexdigest() != digest, "the run's token"
    assert not (tmp_path / "written").exists(), "what it wrote, if anything, went with its /tmp"
    assert not _runs(["sleep", orphan]), "it ended with its stage"
    limited = (cgroups := detect(level).cgroups) is not None and cgroups.pids is not None
    if level is Level.NAMESPACE or os.getuid() != 0 or limited:
        assert found["start processes without end"].startswith("refused")


def _runs(command: list[str]) -> bool:
    found = psutil.process_iter(["cmdline", "status"])
    return any(p.info["cmdline"] == command and p.info["status"] != "zombie" for p in found)


async def test_a_stage_that_runs_out_of_memory_is_told_so(
    level: Level,
    tmp_path: Path,
    bus: SqliteBus,
    registry: RecordingRegistry,
    upstream: Upstream,
    database_url: str,
) -> None:
    """Though each of its processes stays below the limit.

    The first one waits for all others itself: whichever the kernel ends, the stage ends.
    """
    if (found := detect(level)).cgroups is None or found.cgroups.memory is None:
        pytest.skip(f"memory is limited by process alone: {found.why_not_more}")
    crowd = (
        "import os, time\n"
        "first = all(os.fork() for _ in range(7))\n"
        "kept = b'x' * (100 << 20)\n"
        "first or time.sleep(600)\n"
        "raise SystemExit(os.wait()[1])\n"
    )
    pipeline = PIPELINE.replace("outs: [found.json]", "outs: [found.json], cache: false")
    upstream.commit({"loopwright.yaml": pipeline, "hostile.py": crowd})
    given: dict[str, Any] = {"database_url": database_url, "stage_memory": 512 << 20}
    async with running(tmp_path, bus, registry, **given) as trainer:
        run = await trainer.add(upstream)
        assert "it ran out of memory, of which all its processes together may have" in run["why"]
        assert "512 MiB (LOOPWRIGHT_TRAINER_STAGE_MEMORY)" in run["why"]
        run = await trainer.push(upstream, {"hostile.py": "raise SystemExit(3)\n"})
        assert "ended with exit code 3" in run["why"]
        assert "memory" not in run["why"]


async def test_a_stage_cannot_fill_the_disk(
    confined: TrainerHarness, upstream: Upstream, level: Level
) -> None:
    """Neither with one file nor with many, with files that it removes, nor with holes."""
    many = "import time\nfor n in range(40): open(f'{n}', 'wb').write(b'x' * (4 << 20))\n"
    pipeline = PIPELINE.replace("outs: [found.json]", "outs: [found.json], cache: false")
    upstream.commit({"loopwright.yaml": pipeline, "hostile.py": many + "time.sleep(300)\n"})
    run = await confined.add(upstream)
    assert "wrote more than 64 MiB, its limit (LOOPWRIGHT_TRAINER_STAGE_DISK)" in run["why"]
    run = await confined.push(
        upstream, {"hostile.py": "open('one', 'wb').write(b'x' * (100 << 20))\n"}
    )
    told = run["stages"][0]["log_tail"] + run["why"]  # by the kernel, or by who looked just then
    assert (run["status"], "File too large" in told or "its limit" in told) == ("failed", True)
    nameless = (
        "import os, time\nkept = []\n"
        "for n in range(40):\n"
        "    kept.append(open('f', 'wb'))\n"
        "    os.unlink('f')\n"
        "    kept[-1].write(b'x' * (4 << 20))\n"
    )
    run = await confined.push(upstream, {"hostile.py": nameless + "time.sleep(300)\n"})
    assert "wrote more than 64 MiB, its limit" in run["why"]
    nested = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')\n"
    run = await confined.push(upstream, {"hostile.py": nested + many + "time.sleep(300)\n"})
    assert "wrote more than 64 MiB, its limit" in run["why"]
    holes = "for n in range(2): open(f'{n}', 'wb').truncate(60 << 20)\n"
    pipeline = pipeline.replace("found.json", "'0', '1'")
    run = await confined.push(upstream, {"loopwright.yaml": pipeline, "hostile.py": holes})
    assert "outs hold 120 MiB, holes included" in run["why"]
    assert level


async def test_a_stage_cannot_leave_a_workspace_that_resists_its_removal(
    confined: TrainerHarness, upstream: Upstream, tmp_path: Path, level: Level
) -> None:
    """Nor hold its repository's runs with one: the run ends, and the next is done."""
    nested = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')\n"
    upstream.commit({"loopwright.yaml": PIPELINE, "hostile.py": nested})
    run = await confined.add(upstream)
    assert (run["status"], "lies over 64 directories deep" in run["why"]) == ("failed", True)
    assert not [path for path in (tmp_path / "trainer" / "runs").glob("*/work") if path.is_dir()]
    twice = PIPELINE.replace("cmd: python hostile.py", "cmd: [python hostile.py, 'echo']")
    run = await confined.push(upstream, {"loopwright.yaml": twice})
    assert (run["status"], "directories" in run["why"]) == ("failed", True)
    assert "fault of the trainer" not in run["why"]
    run = await confined.push(upstream, {"hostile.py": "open('found.json', 'w').write('{}')\n"})
    assert run["status"] == "succeeded"
    assert level


async def test_a_stage_cannot_link_its_outputs_out(
    confined: TrainerHarness, upstream: Upstream, tmp_path: Path
) -> None:
    pipeline = PIPELINE.replace("python hostile.py", f"rmdir out; ln -s {tmp_path} out").replace(
        "found.json", "out/prediction.key"
    )
    upstream.commit({"loopwright.yaml": pipeline, "hostile.py": ""})
    run = await confined.add(upstream)
    assert run["status"] == "failed"
    assert "link" in run["why"]


async def test_a_cancelled_stage_leaves_nothing(
    confined: TrainerHarness, upstream: Upstream, registry: RecordingRegistry
) -> None:
    seconds = str(500 + os.getpid() / 10**9)
    code = (
        "import subprocess, time\n"
        f"subprocess.Popen(['sleep', '{seconds}'], start_new_session=True)\ntime.sleep(300)\n"
    )
    upstream.commit({"loopwright.yaml": PIPELINE, "hostile.py": code})
    await confined.post("/v1/repositories", name="toy", url=str(upstream.path))

    async def begun() -> bool:
        return _runs(["sleep", seconds])

    await until(begun)
    (run,) = (await confined.get("/v1/runs"))["items"]
    await confined.post(f"/v1/runs/{run['id']}/cancel")
    ended = await confined.ended(run_id=run["id"])
    assert ended["status"] == "cancelled"
    assert not _runs(["sleep", seconds])
