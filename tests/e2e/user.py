"""A new user: the running system, its command line, and any other program beside it."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from loopwright.client import PORTS
from loopwright.output import UP
from loopwright.ports import free_ports
from loopwright.reference.settings import SERVICES
from loopwright_common.files.private import is_private
from loopwright_common.process import subprocesses
from tests.settings_secrets import is_secret, may_hold_secrets

README = Path(__file__).parents[2] / "README.md"
SCORING = README.parent / "docs" / "scoring.md"
LOOPWRIGHT = str(Path(sys.executable).parent / "loopwright")


TOKEN = "t0ken-that-nobody-may-see"
SECRET = "secret-that-nobody-may-see"
_KEY = "5ec2e7" * 10 + "abcd"
SECRETS = (TOKEN, SECRET, _KEY)
"""What the system is told, in its environment or files, and never tells."""
_PLANTED = {
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "DATABASE_PASSWORD": SECRET,
    **{
        f"LOOPWRIGHT_{settings.service.upper()}_{name.upper()}": _KEY
        for settings in SERVICES
        for name in may_hold_secrets(settings)
        if is_secret(settings, name)
    },
}
_PLANTED_URLS = {
    f"LOOPWRIGHT_{settings.service.upper()}_{name.upper()}": (
        f"postgresql://u:{SECRET}@database.invalid/x"
    )
    for settings in SERVICES
    for name in may_hold_secrets(settings)
    if not is_secret(settings, name) and name != "otlp_endpoint"  # spans would be sent there
}
"""Of these the embedded system has its own; the services of another would follow them."""


class User:
    """Works in a directory of their own; everything is asked from outside."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = free_ports(*PORTS, "scorer_grpc")
        self.log = directory / "up.log"
        self.credentials = directory / "credentials"
        self.credentials.touch(mode=0o600)
        self.credentials.write_text(f"https://bot:{TOKEN}@git.invalid/private.git\n")
        self.ssh_config = directory / "ssh_config"
        self.ssh_config.touch(mode=0o600)
        self.ssh_config.write_text(f"# {SECRET}\nHost *\n")
        self.urls: Mapping[str, str] = {}
        self.http = httpx.Client(timeout=240)

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def is_ready(self, service: str) -> bool:
        try:
            return self.http.get(self.url(service) + "/readyz").is_success
        except httpx.TransportError:
            return False

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Any program, in the user's directory."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def loopwright(self, *arguments: str, status: int = 0) -> str:
        """What the command line says, on either stream; it has to end with this status."""
        done = self.run(LOOPWRIGHT, *arguments)
        assert done.returncode == status, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def items(self, service: str, path: str) -> list[dict[str, Any]]:
        """The first page of a list, over HTTP."""
        found: list[dict[str, Any]] = self.http.get(self.url(service) + path).json()["items"]
        return found

    def json(self, *arguments: str) -> Any:
        done = self.run(LOOPWRIGHT, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def python(self, source: str) -> str:
        done = self.run(sys.executable, "-c", source)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def printed_in_readme(self, language: str, word: str) -> str:
        """The README's first block of this language with this word, at this user's ports."""
        return next(block for block in self.printed_in(README, language) if word in block)

    def printed_in(self, document: Path, language: str) -> list[str]:
        """The document's blocks of this language, at this user's ports."""
        here = {str(port): str(self.ports[service]) for service, port in PORTS.items()}
        printed = rf"\b({'|'.join(here)})\b"
        text = re.sub(printed, lambda port: here[port[0]], document.read_text())
        return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)

    def infer(self, model: str, **inputs: tuple[str, list[int], object]) -> dict[str, Any]:
        """An answer to one V2 call; each input is its datatype, shape and data."""
        named = [
            {"name": name, "datatype": datatype, "shape": shape, "data": data}
            for name, (datatype, shape, data) in inputs.items()
        ]
        url = f"{self.url('scorer')}/v2/models/{model}/infer"
        answer = self.http.post(url, json={"inputs": named})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def environment(self) -> Mapping[str, str]:
        ports = {f"LOOPWRIGHT_{name.upper()}_PORT": str(p) for name, p in self.ports.items()}
        tracking = {"MLFLOW_TRACKING_URI": self.url("registry")}
        credentials = {
            "LOOPWRIGHT_TRAINER_GIT_CREDENTIALS": str(self.credentials),
            "LOOPWRIGHT_TRAINER_GIT_SSH_CONFIG": str(self.ssh_config),
        }
        own = {**ports, **tracking, **_PLANTED, **self.urls, **credentials}
        return {**os.environ, **own, "PYTHONDONTWRITEBYTECODE": ""}


def until(what: str, found: Callable[[], bool], within: float = 600) -> None:
    give_up = time.monotonic() + within
    while not found():
        assert time.monotonic() < give_up, f"never came true: {what}"
        time.sleep(0.1)


def open_to_others(directory: Path) -> dict[str, str]:
    """What in a data directory somebody else could read, write or list, with its mode."""
    found = {}
    for folder, subfolders, files in os.walk(directory):
        for path in (Path(folder), *(Path(folder, name) for name in (*subfolders, *files))):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            if not is_private(mode) and not stat.S_ISLNK(mode):
                found[str(path)] = oct(mode)
    return found


@contextmanager
def with_system(directory: Path, *up: str, program: str = "") -> Generator[User, None, None]:
    """A user whose `loopwright up`, or program, runs; a warning about the future ends it."""
    user = User(directory)
    user.urls = {} if up else _PLANTED_URLS
    started = ["-c", program] if program else ["-m", "loopwright", "up", *up]
    command = [sys.executable, "-W", "error::FutureWarning", *started]
    with user.log.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=dict(user.environment()),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until("it is up", lambda: UP in user.log.read_text() or process.poll() is not None, 120)
        assert process.poll() is None, user.log.read_text()[-3000:]
        until("every service is ready", lambda: all(user.is_ready(name) for name in PORTS))
        yield user
        process.terminate()
        assert process.wait(40) == 0, user.log.read_text()[-3000:]
    finally:
        user.http.close()
        subprocesses.kill_group(process.pid)
        process.wait()
