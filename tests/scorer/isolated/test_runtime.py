"""Isolated packages hurt nobody, are replaced, and run on what they need."""

import asyncio
import gc
import os
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.files.private import narrow_below
from loopwright_common.sandbox import Level, detect
from loopwright_scorer.isolated.environments import EnvironmentCache
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.models.loaded_model import LoadedModel, load
from loopwright_scorer.tensors.inputs import ModelInputs
from tests.scorer import isolated_packages as packages
from tests.scorer.harness import MODEL, ROW, Replica, ScorerHarness, eventually

LIMITS = {"isolated_call_timeout": 1.0, "isolated_memory": 1 << 30}
RESTARTS = "loopwright_scorer_isolated_restarts_total"
NAME = "0" * 12


@asynccontextmanager
async def serving(
    harness: ScorerHarness, directory: Path, **limits: float
) -> AsyncGenerator[Replica, None]:
    """Version 1 is served in the scorer, version 2 is the mischief."""
    harness.package_dirs = {**harness.package_dirs, "mischief": packages.mischief(directory)}
    async with harness.replica(**(LIMITS | limits)) as replica:
        kept = [await harness.arm(2, "mischief", 0)]
        await harness.route(1, await harness.arm(1, "low"), kept=kept)
        await replica.serves(1)
        yield replica


async def asked(replica: Replica, act: str, argument: float = 1.0) -> httpx.Response:
    data = [packages.ACTS.index(act), argument]
    tensor = {"name": "act", "datatype": "FP64", "shape": [1, 2], "data": data}
    path = f"/v2/models/{MODEL}/versions/2/infer"
    return await replica.http.post(path, json={"inputs": [tensor]})


async def answered(replica: Replica, act: str, argument: float = 1.0) -> float:
    response = await asked(replica, act, argument)
    assert response.status_code == 200, response.text
    return float(response.json()["outputs"][0]["data"][0])


def processes(harness: ScorerHarness) -> list[int]:
    """Those whose home is in the replica's directory."""
    mark = f"HOME={harness.directory}".encode()
    pids = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (directory / "environ").read_bytes():
                pids.append(int(directory.name))
        except OSError:
            continue
    return pids


async def test_a_pickle_is_opened_in_its_own_process_and_nowhere_else(
    harness: ScorerHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "mischief" / "code"))
    monkeypatch.setenv("LOOPWRIGHT_SECRET", "s3cret")
    async with serving(harness, tmp_path / "mischief") as replica:
        assert await answered(replica, "was_opened") == 1.0
        assert await answered(replica, "secrets") == 0.0
        assert await answered(replica, "descriptors") <= 6
        assert packages.OPENED not in os.environ


@pytest.mark.parametrize(
    ("act", "reason", "word"),
    [
        ("hang", "hung", "did not answer within 1 s"),
        ("fork", "hung", "did not answer within 1 s"),
        ("exit", "died", "with status 3"),
        ("babble", "broken", "no answer"),
    ],
)
async def test_a_process_that_fails_is_ended_and_replaced_while_others_are_answered(
    harness: ScorerHarness, tmp_path: Path, act: str, reason: str, word: str
) -> None:
    async with serving(harness, tmp_path / "mischief") as replica:
        before = processes(harness)
        failing = asyncio.create_task(asked(replica, act))
        await asyncio.sleep(0.2)
        other = await replica.infer(ROW)
        answered_meanwhile = not failing.done()
        failed = await failing

        assert (other.status_code, failed.status_code) == (200, 500)
        assert word in failed.json()["error"]
        assert answered_meanwhile or reason != "hung"
        assert await answered(replica, "answer", 7.0) == 7.0
        assert not set(before) & set(processes(harness))
        # Without namespaces, what leaves its session is not found again.
        assert len(processes(harness)) == len(before) or (act == "fork" and not _confines())
        assert _restarts(replica, reason) == 1.0


@pytest.mark.parametrize(
    ("act", "word"), [("allocate", "MemoryError"), ("write", "File too large")]
)
async def test_memory_and_files_past_the_limits_fail_the_call_alone(
    harness: ScorerHarness, tmp_path: Path, act: str, word: str
) -> None:
    async with serving(harness, tmp_path / "mischief", isolated_call_timeout=20.0) as replica:
        failed = await asked(replica, act)

        assert failed.status_code == 500
        assert word in failed.json()["error"]
        assert await answered(replica, "answer", 7.0) == 7.0
        assert (await replica.infer(ROW)).status_code == 200


async def test_processes_that_take_too_much_memory_together_fail_the_call_alone(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    if (sandbox := detect()).cgroups is None or sandbox.cgroups.memory is None:
        pytest.skip(f"memory is limited by process alone: {sandbox.why_not_more}")
    async with serving(harness, tmp_path / "mischief", isolated_call_timeout=60.0) as replica:
        failed = await asked(replica, "crowd")

        assert failed.status_code == 500
        assert "ran out of memory" in failed.json()["error"]
        assert _restarts(replica, "memory") == 1.0
        assert await answered(replica, "answer", 7.0) == 7.0


async def test_an_answer_of_another_shape_is_a_failure_of_the_model(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    async with serving(harness, tmp_path / "mischief") as replica:
        assert (await asked(replica, "flood")).status_code == 500
        assert await answered(replica, "answer", 7.0) == 7.0


async def test_the_process_goes_with_its_version(harness: ScorerHarness, tmp_path: Path) -> None:
    async with serving(harness, tmp_path / "mischief") as replica:
        assert processes(harness)
        memory = replica.service.metrics.registry.get_sample_value(
            "loopwright_scorer_isolated_memory_bytes", {"package": NAME}
        )
        assert memory is not None
        assert memory > 5e6
        await harness.route(2, await harness.arm(1, "low"))
        await replica.serves(2)

        async def gone() -> bool:
            gc.collect()
            return not processes(harness)

        await eventually(gone)
    assert not list((tmp_path / "cache" / "isolated" / "running").iterdir())


async def test_network_and_other_directories_are_out_of_reach_where_the_system_permits(
    harness: ScorerHarness, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = float(server.getsockname()[1])
        async with serving(harness, tmp_path / "mischief") as replica:
            reached = [await answered(replica, "connect", port), await answered(replica, "leave")]
    assert reached == [0.0, 0.0] or not _confines()


@pytest.mark.parametrize("level", [Level.PROCESS, Level.NAMESPACE])
async def test_secrets_in_our_environment_are_out_of_reach_at_each_level(
    tmp_path: Path, level: Level
) -> None:
    """Of a process that holds one, as the scorer does from its start."""
    isolation = IsolationConfig(tmp_path / "isolated", sandbox=detect(at_most=level))
    model = load(packages.mischief(tmp_path / "package"), "", isolation)
    holder = await asyncio.create_subprocess_exec("sleep", "60", env={"S3CRET": "s3cret"})
    try:
        acts = {name: _told(model, name) for name in ("secrets", "others_secrets")}
    finally:
        holder.kill()
        await holder.wait()

    assert acts == {"secrets": 0.0, "others_secrets": 0.0}
    assert model.sandbox == detect(at_most=level).level


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """uv has these wheels and nothing else, and what is made is ours alone, as in a service."""
    made = packages.wheels(tmp_path / "wheels")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(made))
    former = os.umask(0o077)
    yield made
    os.umask(former)


def test_a_package_runs_on_other_python_packages_than_ours_and_they_are_built_once(
    offline: Path, tmp_path: Path
) -> None:
    directory = packages.needing(tmp_path / "package", "greeting==1.0", "borrowed")
    isolation = IsolationConfig(tmp_path / "isolated")
    model = load(directory, "", isolation)
    assert _predicted(model, 2.0) == 2.5
    model.predict(ModelInputs(1, {"act": np.array([[0.0, 1.0]])}))

    for wheel in offline.iterdir():
        wheel.unlink()
    narrow_below(tmp_path / "isolated" / "environments")  # as a service does when it starts
    again = load(directory, "", IsolationConfig(tmp_path / "isolated"))
    assert _predicted(again, 3.0) == 3.5

    environments = IsolationConfig(tmp_path / "isolated").environment_cache()
    environments.prune(kept_seconds=-1)
    assert _built(environments) == 1, "what is in use is kept"
    del model, again
    gc.collect()
    environments.prune(kept_seconds=-1)
    assert _built(environments) == 0


@pytest.mark.usefixtures("offline")
def test_a_requirement_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    directory = packages.needing(tmp_path / "package", "greeting==9.0", "borrowed")
    with pytest.raises(InvalidError, match=r"greeting==9\.0"):
        load(directory, "", IsolationConfig(tmp_path / "isolated"))
    assert _built(IsolationConfig(tmp_path / "isolated").environment_cache()) == 0


def test_a_package_that_does_not_open_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    directory = packages.mischief(tmp_path / "package")
    (directory / "model.pkl").write_bytes(b"no pickle at all")
    with pytest.raises(InvalidError, match="cannot be opened: UnpicklingError"):
        load(directory, "", IsolationConfig(tmp_path / "isolated"))
    gc.collect()
    assert not list((tmp_path / "isolated" / "running").iterdir())


def test_a_process_that_keeps_dying_is_started_after_a_pause(tmp_path: Path) -> None:
    model = load(
        packages.mischief(tmp_path / "package"), "", IsolationConfig(tmp_path / "isolated")
    )
    dies = ModelInputs(1, {"act": np.array([[float(packages.ACTS.index("exit")), 0.0]])})
    errors = [model.predict(dies).error or "" for _ in range(3)]
    started = time.monotonic()

    assert "with status 3" in errors[1]
    assert "the next starts in" in errors[2]
    while model.predict(ModelInputs(1, {"act": np.array([[0.0, 4.0]])})).outputs is None:
        assert time.monotonic() - started < 20
        time.sleep(0.1)


def _told(model: LoadedModel, act: str, argument: float = 1.0) -> float:
    row = np.array([[float(packages.ACTS.index(act)), argument]])
    outputs = model.predict(ModelInputs(1, {"act": row})).outputs
    assert outputs is not None
    assert outputs.prediction is not None
    return float(outputs.prediction[0])


def _predicted(model: LoadedModel, argument: float) -> float:
    return _told(model, "answer", argument)


def _built(environments: EnvironmentCache) -> int:
    """Beside what uv keeps for itself."""
    found = environments.directory.iterdir()
    return len([each for each in found if each.is_dir() and not each.name.startswith(".")])


def _restarts(replica: Replica, reason: str) -> float | None:
    labels = {"package": NAME, "reason": reason}
    return replica.service.metrics.registry.get_sample_value(RESTARTS, labels)


def _confines() -> bool:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    has_landlock = libc.syscall(444, None, ctypes.c_size_t(0), 1) >= 3
    child = os.fork()
    if not child:
        os._exit(0 if libc.unshare(0x10000000 | 0x20000000 | 0x40000000) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0 and has_landlock
