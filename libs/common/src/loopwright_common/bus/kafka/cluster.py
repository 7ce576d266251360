"""What Kafka's clients share here: the address, the time allowed, the errors and the records."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as KafkaPartition

from loopwright_common.bus.interface import TopicPartition
from loopwright_common.cloudevents import Record
from loopwright_common.errors import InvalidError, UnavailableError, scheme_alone, without_paths

REQUEST_SECONDS = 20.0
CLOSE_SECONDS = 3.0
_LAST_MILLISECOND = 253_402_300_799_000
_SERVER = re.compile(r"[^\s:,/]+:\d+|\[[0-9a-fA-F:]+\]:\d+")
_PREFIX = re.compile(r"[a-zA-Z0-9._-]{0,100}")


class _Client(Protocol):
    """One of aiokafka's."""

    def start(self) -> Coroutine[Any, Any, None]: ...


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka, and how our topics and groups are called there."""

    servers: tuple[str, ...]
    prefix: str = ""

    @classmethod
    def parse(cls, url: str, prefix: str = "") -> "Cluster":
        """The cluster at `kafka://HOST:PORT[,HOST:PORT]`.

        InvalidError for another URL or a bad prefix.
        """
        servers = tuple(url.removeprefix("kafka://").split(","))
        if not all(_SERVER.fullmatch(server) for server in servers):
            shown = scheme_alone(url)
            raise InvalidError(f"{shown}: give kafka://HOST:PORT[,HOST:PORT]", field="bus_url")
        if not _PREFIX.fullmatch(prefix):
            raise InvalidError(
                f"{prefix!r}: up to 100 of a-z, A-Z, 0-9, '.', '_', '-'", field="topic_prefix"
            )
        return cls(servers, prefix)

    def __str__(self) -> str:
        return f"Kafka at {','.join(self.servers)}"

    @property
    def client(self) -> dict[str, Any]:
        """Settings of every client."""
        return {
            "bootstrap_servers": list(self.servers),
            "request_timeout_ms": int(REQUEST_SECONDS * 1000),
            "retry_backoff_ms": 100,
            # Brokers that come back elsewhere are found again soon.
            "metadata_max_age_ms": 60_000,
        }

    def name(self, topic: str) -> str:
        return self.prefix + topic

    def to_kafka(self, partition: TopicPartition) -> KafkaPartition:
        return KafkaPartition(self.prefix + partition.topic, partition.partition)

    def from_kafka(self, partition: KafkaPartition) -> TopicPartition:
        return TopicPartition(partition.topic.removeprefix(self.prefix), partition.partition)

    def record(self, received: ConsumerRecord) -> Record:
        """The record under our topic's name; a null value, which removes a key, is no bytes."""
        return Record(
            topic=received.topic.removeprefix(self.prefix),
            partition=received.partition,
            offset=received.offset,
            key=_text(received.key),
            headers={name: _text(value) for name, value in received.headers},
            value=received.value or b"",
            time=_time_of(received.timestamp),
        )

    @contextlib.asynccontextmanager
    async def reached(self, seconds: float = REQUEST_SECONDS) -> AsyncGenerator[None, None]:
        """UnavailableError for what Kafka could not do within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise UnavailableError(f"{self}: no answer in {seconds:g} seconds") from error
        except (KafkaError, OSError) as error:
            raise UnavailableError(f"{self}: {described(error)}") from error


async def start(client: _Client) -> None:
    """Start it, to the end also for a caller who is cancelled, who may then stop it.

    Cancelled while it waits for its first answer a client would leave that connection open.
    """
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting], timeout=CLOSE_SECONDS)
        if not starting.cancel():
            starting.exception()
        raise


def described(error: BaseException) -> str:
    """Its name and the first line of what it says."""
    name, text = type(error).__name__, without_paths(error).partition("\n")[0]
    return text if name in text else f"{name}: {text}".removesuffix(": ")


def _text(raw: bytes | None) -> str:
    """Others may write any bytes; a database takes neither these nor the character NUL."""
    return (raw or b"").decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _time_of(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(min(max(milliseconds, 0), _LAST_MILLISECOND) / 1000, UTC)
