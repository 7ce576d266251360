"""What a sandboxed command can not do, at each level that this machine permits."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from loopwright_common.process.subprocesses import kill_group
from loopwright_common.sandbox import (
    Gateway,
    Level,
    Limits,
    Policy,
    Sandbox,
    cgroup_tree,
    detect,
    receive_listener,
)
from tests.common.sandbox.commands import python, run, start

# Tries everything at once, and prints as JSON what came of each attempt.
OURS = f"61.{os.getpid()}"
"""Seconds that no other test sleeps, also none that runs beside this one."""
ATTEMPTS = """
import ctypes, json, os, signal, socket, sys
outside, port, secret_pid, group = json.loads(sys.argv[1])

def join(group):
    with open(f"{group}/cgroup.procs", "w") as processes:
        processes.write("0")

def outcome(attempt):
    try:
        return attempt() or "done"
    except (OSError, ValueError) as error:
        return type(error).__name__

def connect():
    socket.create_connection(("127.0.0.1", port), timeout=5).close()

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
print(json.dumps({
    "environment": outcome(lambda: open(f"/proc/{secret_pid}/environ").read()),
    "own parent": outcome(lambda: open(f"/proc/{os.getppid()}/environ").read()),
    "read": outcome(lambda: open(f"{outside}/secret").read()),
    "list": outcome(lambda: os.listdir(outside)),
    "password file": outcome(lambda: open("/etc/shadow").read()),
    "write": outcome(lambda: open(f"{outside}/written", "w").close()),
    "link": outcome(lambda: os.link(f"{outside}/secret", "linked")),
    "connect": outcome(connect),
    "datagram": outcome(lambda: socket.socket(type=socket.SOCK_DGRAM).connect(("127.0.0.1", port))),
    "kill": outcome(lambda: os.kill(secret_pid, signal.SIGTERM)),
    "unshare": "done" if libc.unshare(0x10000000) == 0 else "PermissionError",
    "clone3": "done" if libc.syscall(435, None, 0) != -1 or ctypes.get_errno() != 38 else "OSError",
    "packets": outcome(lambda: socket.socket(17, socket.SOCK_RAW)),
    "leave its cgroup": outcome(lambda: join(group)),
    "own file": outcome(lambda: open("mine", "w").close()),
    "lock": outcome(lambda: __import__("multiprocessing").Lock() and None),
    "pair": outcome(lambda: socket.socketpair() and None),
}))
"""
ALLOWED = {"own file", "lock", "pair"}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory like the data directory, open to everyone."""
    directory = tmp_path.resolve() / "data"
    directory.mkdir(mode=0o755)
    (directory / "secret").write_text("secret")
    return directory


def own_group() -> str:
    """Where commands of ours start, as they would like to again."""
    try:
        return str(cgroup_tree.own_group("memory").directory)
    except OSError:
        return "/sys/fs/cgroup"


@contextmanager
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process outside with a secret in its environment."""
    with subprocess.Popen(["/bin/sleep", "60"], env={"SECRET": "secret"}) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("own_user", [True, False])
def test_what_a_command_cannot_do(
    sandbox: Sandbox, own_user: bool, work: Path, outside: Path
) -> None:
    with bystander() as other, socket.create_server(("127.0.0.1", 0)) as listener:
        asked = json.dumps([str(outside), listener.getsockname()[1], other.pid, own_group()])
        policy = Policy(writable=(work,), own_user=own_user)
        status, printed = run(sandbox, python(ATTEMPTS, asked), policy)
        assert other.poll() is None
    assert status == 0, printed
    came_of_it = json.loads(printed)
    # Datagrams go nowhere where the network is the command's own.
    del came_of_it["datagram" if sandbox.level is Level.NAMESPACE else "clone3"]
    assert {name for name, how in came_of_it.items() if how == "done"} == ALLOWED, came_of_it
    assert "secret" not in printed
    assert not (outside / "written").exists()


def test_the_same_attempts_succeed_outside(work: Path, outside: Path) -> None:
    """Else the test above would show nothing."""
    with bystander() as other, socket.create_server(("127.0.0.1", 0)) as listener:
        asked = json.dumps([str(outside), listener.getsockname()[1], other.pid, own_group()])
        status, printed = run(
            Sandbox(level=Level.NONE), python(ATTEMPTS, asked), Policy(writable=(work,))
        )
    assert status == 0, printed
    came_of_it = json.loads(printed)
    assert came_of_it["read"] == "secret"
    assert came_of_it["environment"].startswith("SECRET=secret")
    assert came_of_it["write"] == came_of_it["connect"] == came_of_it["kill"] == "done"
    assert came_of_it["leave its cgroup"] == "done" or detect().cgroups is None


def test_it_reads_what_it_was_given_and_computes_with_our_packages(
    sandbox: Sandbox, work: Path, outside: Path
) -> None:
    code = f"import numpy, pyarrow; print(open('{outside}/secret').read(), numpy.ones(3).sum())"
    policy = Policy(writable=(work,), readable=(outside,))
    assert run(sandbox, python(code), policy) == (0, "secret 3.0\n")
    written = run(sandbox, ["/bin/sh", "-c", f"echo x > {outside}/written"], policy)
    assert written[0] != 0
    assert not (outside / "written").exists()


@pytest.mark.parametrize(("code", "status"), [("exit 3", 3), ("kill -KILL $$", 137)])
def test_it_ends_as_the_command_does(sandbox: Sandbox, code: str, status: int, work: Path) -> None:
    ended, _ = run(sandbox, ["/bin/sh", "-c", code], Policy(writable=(work,)))
    assert ended % 256 == status or ended == 128 - status


def test_a_command_that_is_not_there_and_a_path_that_is_not_there(
    sandbox: Sandbox, work: Path
) -> None:
    status, printed = run(sandbox, ["/nowhere/command"], Policy(writable=(work,)))
    assert (status, "No such file" in printed) == (127, True)
    missing = Policy(writable=(work,), readable=(work / "missing",))
    status, printed = run(sandbox, ["/bin/true"], missing)
    assert status != 0
    assert "missing" in printed


def test_nothing_stays_behind(sandbox: Sandbox, work: Path) -> None:
    """A process in a session of its own, whose parent has ended, ends with the command."""
    sleep = f"(setsid /bin/sh -c 'sleep {OURS} & echo $! > pid; wait' &)"
    leave = f"{sleep} ; until [ -s pid ]; do :; done"
    status, _ = run(sandbox, ["/bin/sh", "-c", leave], Policy(writable=(work,)))
    assert status == 0
    assert not _sleeping()


def test_nothing_stays_behind_when_it_is_stopped(sandbox: Sandbox, work: Path) -> None:
    leave = f"(setsid /bin/sh -c 'sleep {OURS} & echo $! > pid; wait' &) ; sleep {OURS}"
    process = start(sandbox, ["/bin/sh", "-c", leave], Policy(writable=(work,)))
    while not (work / "pid").exists():
        assert process.poll() is None
    kill_group(process.pid)
    process.communicate(timeout=30)
    assert not _sleeping()


def _sleeping() -> bool:
    wanted = f"sleep\0{OURS}\0".encode()
    return any(_command_line(process) == wanted for process in Path("/proc").glob("[0-9]*"))


def _command_line(process: Path) -> bytes:
    """None of one that has ended meanwhile."""
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_memory_and_files_have_limits(sandbox: Sandbox, work: Path) -> None:
    limits = Limits(memory=1 << 30, file_bytes=1 << 20)
    policy = Policy(writable=(work,), limits=limits)
    status, printed = run(sandbox, python("bytearray(2 << 30)"), policy)
    assert (status, "MemoryError" in printed) == (1, True)
    fill = "open('big', 'wb').write(b'x' * (2 << 20))"
    assert run(sandbox, python(fill), policy)[0] != 0
    assert (work / "big").stat().st_size <= 1 << 20


@pytest.mark.parametrize("own_user", [True, False])
def test_processes_have_a_limit(sandbox: Sandbox, own_user: bool, work: Path) -> None:
    of_its_own = sandbox.own_users and own_user
    if os.getuid() == 0 and not of_its_own and not (sandbox.cgroups and sandbox.cgroups.pids):
        pytest.skip(f"root is bound by cgroups alone: {sandbox.why_not_more}")
    bomb = """
import os, time
count = 0
try:
    while count < 1000:
        if os.fork() == 0:
            time.sleep(60)
        count += 1
except BlockingIOError:
    print("refused", count < 100)
"""
    policy = Policy(writable=(work,), limits=Limits(processes=40), own_user=own_user)
    assert run(sandbox, python(bomb), policy) == (0, "refused True\n")


def test_a_gateway_is_all_of_the_network(sandbox: Sandbox, work: Path) -> None:
    """The command calls what its starter serves, by a URL on a loopback that need not be ours."""
    ask = """
import os, socket, urllib.request
print(urllib.request.urlopen(os.environ["REGISTRY"] + "/x", timeout=30).read().decode())
"""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        policy = Policy(writable=(work,), gateway=Gateway("REGISTRY", theirs.fileno()))
        process = start(sandbox, python(ask), policy, pass_fds=[theirs.fileno()])
        theirs.close()
        with receive_listener(ours) as listener:
            thread = threading.Thread(target=_answer_once, args=(listener,))
            thread.start()
            printed, _ = process.communicate(timeout=60)
            thread.join()
    assert (process.returncode, printed) == (0, "hello\n")


def _answer_once(listener: socket.socket) -> None:
    listener.settimeout(60)
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def test_an_inherited_listener_is_called_from_outside(sandbox: Sandbox, work: Path) -> None:
    """So a server can answer us that can call nobody."""
    serve = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
listener.accept()[0].sendall(b"served")
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        process = start(sandbox, python(serve, str(fd)), Policy(writable=(work,)), pass_fds=[fd])
        with socket.create_connection(listener.getsockname(), timeout=30) as connection:
            assert connection.recv(100) == b"served"
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_a_user_of_its_own_owns_what_it_writes(work: Path) -> None:
    sandbox = detect()
    if not sandbox.own_users:
        pytest.skip("we are not root, or Python lies where no other user gets")
    (work / "before").write_text("x")
    policy = Policy(writable=(work,), own_user=True)
    status, printed = run(
        sandbox, ["/bin/sh", "-c", "id -u; echo y > before; echo y > new"], policy
    )
    assert status == 0, printed
    user = int(printed)
    assert 61184 <= user < 65520
    assert {path.stat().st_uid for path in (work, *work.iterdir())} == {user}
    _, printed = run(sandbox, ["/bin/sh", "-c", "id -u; cat before"], policy)
    assert printed == f"{user + 1}\ny\n" or printed == "61184\ny\n"


def test_with_the_network_it_calls_whom_it_will(sandbox: Sandbox, work: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code = (
            f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}))"
        )
        policy = Policy(writable=(work,), network=True)
        assert run(sandbox, python(code), policy) == (0, "")


def test_without_landlock_namespaces_still_hide_all(work: Path, outside: Path) -> None:
    sandbox = replace(detect(), landlock=False)
    if sandbox.level is not Level.NAMESPACE:
        pytest.skip("this machine permits no namespaces")
    status, _ = run(sandbox, ["/bin/cat", f"{outside}/secret"], Policy(writable=(work,)))
    assert status == 1
