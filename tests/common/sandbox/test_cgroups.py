"""Limits of all processes of a command together, in cgroups that are gone once it is."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from loopwright_common.sandbox import Level, Limits, Policy, Sandbox, detect, ran_out_of_memory
from loopwright_common.sandbox.cgroups import Cgroups, groups_of
from tests.common.sandbox.commands import finish, python, run, start, start_wrapped

# Each of six takes 100 MiB, and stays as long as the first that ends, or until all have theirs.
SIX = """
import os, signal, time
for _ in range(6):
    if os.fork() == 0:
        kept = b"x" * (100 << 20)
        open(f"has-{os.getpid()}", "w").close()
        signal.pause()
while sum(name.startswith("has") for name in os.listdir(".")) < 6:
    pid, status = os.waitpid(-1, os.WNOHANG)
    if pid:
        raise SystemExit(f"one ended by signal {os.WTERMSIG(status)}")
    time.sleep(0.01)
print("all have theirs")
"""
BEGIN_AND_DIE = """
import os, signal, subprocess, sys
from pathlib import Path
from loopwright_common.sandbox import Level, Policy, detect
from loopwright_common.sandbox.cgroups import groups_of
from tests.common.sandbox.commands import start
level, work = sys.argv[1:]
policy = Policy(writable=(Path(work),))
begun = start(detect(Level(level)), ["/bin/sh", "-c", "echo begun; exec sleep 63"], policy)
begun.stdout.readline()
print(*groups_of(begun.args), sep="\\n", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def cgroups(sandbox: Sandbox) -> Cgroups:
    if sandbox.cgroups is None or len(sandbox.cgroups.controllers) < 2:
        pytest.skip(f"this machine lets us make no cgroups: {sandbox.why_not_more}")
    return sandbox.cgroups


@pytest.mark.usefixtures("cgroups")
@pytest.mark.parametrize("own_user", [True, False])
def test_processes_that_exceed_the_memory_together_are_ended(
    sandbox: Sandbox, own_user: bool, work: Path
) -> None:
    """Each stays below its own limit; a command beside them goes on, and so do we."""
    limits = Limits(memory=1 << 30, total_memory=300 << 20)
    policy = Policy(writable=(work,), limits=limits, own_user=own_user)
    other = start(sandbox, ["/bin/cat"], Policy(writable=(work,)), stdin=subprocess.PIPE)
    six = start(sandbox, python(SIX), policy)
    status, printed = finish(six)
    # By itself, or with all the others where the kernel ends a group as one.
    assert status in (1, -signal.SIGKILL, 128 + signal.SIGKILL), printed
    assert status != 1 or "one ended by signal 9" in printed
    assert ran_out_of_memory(_arguments(six))
    assert other.communicate("still here", timeout=60)[0] == "still here"
    assert not ran_out_of_memory(_arguments(other))


@pytest.mark.usefixtures("cgroups")
def test_processes_that_stay_below_together_are_not(sandbox: Sandbox, work: Path) -> None:
    """Else the test above would show nothing."""
    limits = Limits(memory=1 << 30, total_memory=1 << 30)
    six = start(sandbox, python(SIX), Policy(writable=(work,), limits=limits))
    assert finish(six) == (0, "all have theirs\n")
    assert not ran_out_of_memory(_arguments(six))


@pytest.mark.parametrize("directory", ["/tmp", "/dev/shm"])  # noqa: S108
def test_what_is_written_to_memory_counts(directory: str, work: Path) -> None:
    sandbox = detect()
    if sandbox.level is not Level.NAMESPACE or sandbox.cgroups is None:
        pytest.skip(f"no memory of its own that is limited: {sandbox.why_not_more}")
    fill = f"with open('{directory}/x', 'wb') as x:\n  for _ in range(300): x.write(bytes(1 << 20))"
    policy = Policy(writable=(work,), limits=Limits(total_memory=200 << 20))
    filling = start(sandbox, python(fill), policy)
    assert finish(filling)[0] != 0
    assert ran_out_of_memory(_arguments(filling))


def test_page_cache_ends_nothing(sandbox: Sandbox, cgroups: Cgroups, work: Path) -> None:
    """What is read and written goes through memory that the kernel takes back."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", work], capture_output=True, check=True).stdout
    if kind == b"tmpfs\n":
        pytest.skip("what is written here is memory")
    copy = "open('a', 'wb').write(b'x' * (40 << 20))\nfor n in range(8): os.system('cp a b%d' % n)"
    policy = Policy(writable=(work,), limits=Limits(total_memory=200 << 20))
    copying = start(sandbox, python(f"import os\n{copy}"), policy)
    assert finish(copying) == (0, "")
    assert sum(file.stat().st_size for file in work.iterdir()) == 9 * 40 << 20
    assert not ran_out_of_memory(_arguments(copying))
    assert cgroups.controllers == ("memory", "pids")


def test_a_group_is_removed_after_its_command_and_not_before(
    sandbox: Sandbox, cgroups: Cgroups, work: Path
) -> None:
    policy = Policy(writable=(work,))
    ended = start(sandbox, ["/bin/true"], policy)
    finish(ended)
    _wait_until_empty(groups_of(_arguments(ended)))
    running = start(sandbox, ["/bin/cat"], policy, stdin=subprocess.PIPE)
    waiting = sandbox.wrap(["/bin/echo", "started"], policy)
    sandbox.wrap(["/bin/true"], policy)
    assert not _existing(_arguments(ended))
    assert _existing(_arguments(running)) == groups_of(_arguments(running)) != []
    assert finish(start_wrapped(waiting, policy)) == (0, "started\n")
    finish(running)
    for arguments in (_arguments(running), waiting):
        _remove(cgroups, arguments)


def test_what_ran_out_of_memory_is_known_after_its_group_is_gone(
    sandbox: Sandbox, cgroups: Cgroups, work: Path
) -> None:
    policy = Policy(writable=(work,), limits=Limits(total_memory=100 << 20))
    taking = start(sandbox, python("kept = b'x' * (200 << 20)"), policy)
    assert finish(taking)[0] != 0
    _remove(cgroups, _arguments(taking))
    assert ran_out_of_memory(_arguments(taking))


@pytest.mark.usefixtures("cgroups")
def test_a_command_does_not_start_without_its_group(sandbox: Sandbox, work: Path) -> None:
    policy = Policy(writable=(work,))
    wrapped = sandbox.wrap(["/bin/echo", "started"], policy)
    for group in groups_of(wrapped):
        group.rmdir()
    status, printed = finish(start_wrapped(wrapped, policy))
    assert (status, "started" in printed) == (125, False)


@pytest.mark.usefixtures("cgroups")
def test_the_next_start_removes_what_a_killed_starter_left(sandbox: Sandbox, work: Path) -> None:
    begin = [sys.executable, "-c", BEGIN_AND_DIE, str(sandbox.level), str(work)]
    killed = subprocess.run(begin, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = [Path(line) for line in killed.stdout.splitlines()]
    assert left
    assert all(group.exists() for group in left)
    _wait_until_empty(left)
    detect = "from loopwright_common.sandbox import detect; detect()"
    subprocess.run([sys.executable, "-c", detect], check=True)
    assert not [group for group in left if group.exists()]


def test_where_no_group_can_be_made_it_is_as_without(sandbox: Sandbox, work: Path) -> None:
    nowhere = work / "nowhere"
    without = replace(sandbox, cgroups=Cgroups(memory=nowhere, pids=nowhere))
    policy = Policy(writable=(work,), limits=Limits(total_memory=100 << 20))
    assert groups_of(without.wrap(["/bin/true"], policy)) == []
    assert run(without, ["/bin/echo", "started"], policy) == (0, "started\n")


@pytest.mark.skipif(os.getuid() != 0, reason="giving up root takes root")
def test_where_we_may_make_none_it_says_why() -> None:
    """Where they are read-only, as in containers."""
    bubblewrap = detect().bubblewrap
    if bubblewrap is None:
        pytest.skip("this machine permits no namespaces")
    show = (
        "from loopwright_common.sandbox import Level, detect\n"
        "found = detect(Level.PROCESS)\n"
        "print(found.level, found.cgroups, found.why_not_more)\n"
    )
    view = [str(bubblewrap), "--dev-bind", "/", "/", "--ro-bind", "/sys", "/sys"]
    completed = subprocess.run(
        [*view, sys.executable, "-I", "-c", show], capture_output=True, text=True, check=True
    )
    level, found, why = completed.stdout.rstrip("\n").split(" ", 2)
    assert (level, found) == ("process", "None")
    assert "cgroups of memory" in why


def _remove(cgroups: Cgroups, arguments: list[str]) -> None:
    """Once it is empty, which it is a moment after its first process has ended."""
    _wait_until_empty(groups_of(arguments))
    cgroups.remove_ended()
    assert not _existing(arguments)


def _wait_until_empty(groups: list[Path]) -> None:
    deadline = time.monotonic() + 60
    while any((group / "cgroup.procs").read_text() for group in groups if group.exists()):
        assert time.monotonic() < deadline, f"{groups} still have processes"
        time.sleep(0.02)


def _arguments(process: subprocess.Popen[str]) -> list[str]:
    assert isinstance(process.args, list)
    return process.args


def _existing(arguments: list[str]) -> list[Path]:
    return [group for group in groups_of(arguments) if group.exists()]
