"""Which bus a URL names."""

from pathlib import Path

from loopwright_common.bus.interface import EventBus
from loopwright_common.errors import InvalidError, scheme_alone


async def open_bus(url: str, prefix: str = "") -> EventBus:
    """The bus at `sqlite:///DIRECTORY` or `kafka://HOST:PORT[,HOST:PORT]`.

    Topics on Kafka begin with `prefix`; a directory holds one log and needs none. Kafka is not
    asked anything yet: a broker that is away is waited for where it is needed. InvalidError for
    another URL or a bad prefix, UnavailableError where another process holds the log.
    """
    if url.startswith("sqlite:///"):
        from loopwright_common.bus.sqlite.bus import SqliteBus

        return await SqliteBus.open(Path(url.removeprefix("sqlite:///")))
    if url.startswith("kafka://"):
        from loopwright_common.bus.kafka import Cluster, KafkaBus

        return KafkaBus(Cluster.parse(url, prefix))
    raise InvalidError(
        f"{scheme_alone(url)}: give sqlite:///DIRECTORY or kafka://HOST:PORT[,HOST:PORT]",
        field="bus_url",
    )
