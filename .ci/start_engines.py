"""Start Kafka and PostgreSQL in a directory, and ask each something."""

import asyncio
import sys
import time
from pathlib import Path

import asyncpg

from loopwright.engines import Kafka, Postgres
from loopwright_common.bus import all_topics
from loopwright_common.process.declare_topics import ensure_topics


async def ask(broker: Kafka, server: Postgres) -> str:
    made = await ensure_topics(broker.url)
    if made != len(all_topics()):
        raise SystemExit(f"Kafka took {made} of {len(all_topics())} topics")
    connection = await asyncpg.connect(server.url)
    version = await connection.fetchval("SELECT current_setting('server_version')")
    await connection.close()
    return f"Kafka took {made} topics, PostgreSQL {version} answers"


def main(directory: Path) -> None:
    began = time.monotonic()
    broker, server = Kafka(directory / "kafka"), Postgres(directory / "postgresql" / "data")
    try:
        broker.start()
        server.start()
        sys.stdout.write(f"{asyncio.run(ask(broker, server))}, {time.monotonic() - began:.0f} s\n")
    finally:
        broker.stop()
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
