"""Programs of the tests that start at once, to be killed on the way.

Nearly all the time of such a process would go into its imports. So one process for each program
does them once for all tests, and is forked for each start of it; the fork then runs the program as
`python -m` does.
"""

import atexit
import importlib
import json
import os
import runpy
import select
import socket
import struct
import subprocess
import sys
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_NUMBER = struct.Struct("i")


class ForkedProcess:
    """One start of a program; like `subprocess.Popen`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.returncode: int | None = None
        self.pid = self._next_number()

    def poll(self) -> int | None:
        """The status it ended with, or None while it runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The status it ends with, negative for a signal; TimeoutError after so many seconds."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            self.returncode = self._next_number()
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it where the process still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _next_number(self) -> int:
        (number,) = _NUMBER.unpack(self._connection.recv(_NUMBER.size))
        return int(number)


def start(
    module: str, *arguments: object, stdout: Path, stderr: Path, **variables: str
) -> ForkedProcess:
    """Run the module as a program, with these arguments and variables beside our own.

    What it prints is added to the two files.
    """
    ours, theirs = socket.socketpair()
    with theirs, stdout.open("ab") as out, stderr.open("ab") as err:
        given = [theirs.fileno(), out.fileno(), err.fileno()]
        socket.send_fds(_template(module), [b"."], given)
    order = {
        "arguments": [str(each) for each in arguments],
        "variables": {**os.environ, **variables},
    }
    ours.sendall(json.dumps(order).encode() + b"\n")
    return ForkedProcess(ours)


@cache
def _template(module: str) -> socket.socket:
    """The connection to a process that has imported it; it ends with ours."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "tests.forks", module]
        process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=_ROOT)
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def _serve(module: str) -> None:
    importlib.import_module(module)
    del sys.modules[module]  # it is run anew by each
    with socket.socket(fileno=os.dup(0)) as control:
        while given := socket.recv_fds(control, 1, 3)[1]:
            if os.fork() == 0:
                control.close()
                _watch(module, *given)
            for descriptor in given:
                os.close(descriptor)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _watch(module: str, connection: int, out: int, err: int) -> None:
    """Start it and tell its process id, and in the end its status."""
    with socket.socket(fileno=connection) as caller:
        order = json.loads(caller.makefile().readline())
        if (pid := os.fork()) == 0:
            caller.close()
            for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
                os.dup2(descriptor, target)
            _run(module, **order)
        caller.sendall(_NUMBER.pack(pid))
        caller.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    os._exit(0)


def _run(module: str, arguments: list[str], variables: dict[str, str]) -> None:
    status = 1
    try:
        os.environ.clear()
        os.environ.update(variables)
        sys.argv[1:] = arguments
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  (Python's own last resort, which is not reached)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1])
