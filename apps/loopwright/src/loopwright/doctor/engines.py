"""Kafka and PostgreSQL from packages: are they here, and do those of a directory answer."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from loopwright.data_dir import Engine, engine_of
from loopwright.doctor.finding import Finding
from loopwright.engines import Kafka, Postgres, jars, kafka, postgres
from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.wording import counted

_WITHIN = 5.0


def examine(data_dir: Path) -> list[Finding]:
    """What `--engine kafka` needs; of a directory that it made, also whether it runs."""
    used = engine_of(data_dir) is Engine.KAFKA
    try:
        findings = [_packages()]
    except LoopwrightError as error:
        return [Finding("engines", "bad" if used else "well", f"for --engine kafka, {error}")]
    if used:
        path = data_dir.absolute() / "engines"
        broker, server = Kafka(path / "kafka"), Postgres(path / "postgresql")
        findings += [
            _answers("kafka", broker.address, lambda: _ask_kafka(broker)),
            _answers("postgresql", server.url, lambda: _ask_postgres(server)),
        ]
    return findings


def _packages() -> Finding:
    missing = "" if jars.jars_are_here() else " (its jars, 45 MB, come with the first start)"
    return Finding(
        "engines",
        "well",
        f"for --engine kafka: Kafka {jars.VERSION}{missing} on Java {kafka.java_version()}, "
        f"PostgreSQL {postgres.version()}",
    )


def _answers(name: str, address: str, ask: Callable[[], Coroutine[Any, Any, str]]) -> Finding:
    async def in_time() -> str:
        async with asyncio.timeout(_WITHIN):
            return await ask()

    try:
        return Finding(name, "well", asyncio.run(in_time()))
    except (LoopwrightError, OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {_WITHIN:.0f} s"
        remedy = "start it with `loopwright up --engine kafka`"
        return Finding(name, "bad", f"does not answer at {address} ({why}); {remedy}")


async def _ask_kafka(broker: Kafka) -> str:
    from loopwright_common.bus import all_topics
    from loopwright_common.process.bus_factory import open_bus

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    bus = await open_bus(broker.url)
    try:
        ends = await bus.ends([topic.name for topic in all_topics()])
    finally:
        await bus.close()
    return f"answers at {broker.address}; {counted(sum(ends.values()), 'record')} so far"


async def _ask_postgres(server: Postgres) -> str:
    import asyncpg

    url = server.url
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.PostgresError as error:
        raise UnavailableError(str(error)) from None
    try:
        version = await connection.fetchval("SELECT current_setting('server_version')")
    finally:
        await connection.close()
    return f"{version} answers at {url}"
