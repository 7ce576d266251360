"""The engines and the services of one system, started in order and kept running."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Self

import httpx

from loopwright.engines import Kafka, Postgres, jars, postgres
from loopwright.engines.program import Program
from loopwright.fleet.child import Child, End
from loopwright.fleet.download import fetch
from loopwright.fleet.services import Site, programs, url
from loopwright.ports import check_port

_UP_WITHIN = 180.0


class Fleet:
    """Runs while entered; whichever process dies meanwhile is started again."""

    def __init__(self, site: Site, tell: Callable[[str], None]) -> None:
        engines = site.data_dir / "engines"
        self.site = site
        self.kafka = Kafka(engines / "kafka")
        self.postgres = Postgres(engines / "postgresql")
        self.children: dict[str, Child] = {}
        self.on_end = self.tell_end
        self._tell = tell

    @property
    def places(self) -> Mapping[str, str]:
        """Where everything is."""
        return {
            **{name: url(port) for name, _, port in self.site.members()},
            "kafka": self.kafka.address,
            "postgresql": self.postgres.url,
            "logs": str(self.site.logs),
        }

    async def __aenter__(self) -> Self:
        """UnavailableError with the last words of whatever does not come up."""
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    def tell_end(self, child: Child, end: End) -> None:
        how = f"status {end.status}" if end.status >= 0 else signal.Signals(-end.status).name
        self._tell(
            f"{child.name} ended ({how}) after {end.lived:.0f} s and is started again in "
            f"{end.pause:.1f} s; its log is {child.program.log}"
        )

    async def _start(self) -> None:
        self.kafka.check_ports()
        for _, service, port in self.site.members():
            check_port(port, service, f"set LOOPWRIGHT_{service.upper()}_PORT")
        self.site.logs.mkdir(parents=True, exist_ok=True)
        if not jars.jars_are_here():
            await self._step("Kafka's jars, fetched once (45 MB)", self._fetch_jars())
        async with asyncio.TaskGroup() as group:
            for name, program in (
                (f"Kafka {jars.VERSION}", self.kafka.program),
                (f"PostgreSQL {postgres.version()}", self.postgres.program),
            ):
                group.create_task(self._step(name, self._start_engine(program)))
        await self._step("the topics", self._make_topics())
        await self._step("the services", self._start_services())

    async def _step(self, name: str, work: Awaitable[None]) -> None:
        self._tell(f"starting {name}")
        started = time.monotonic()
        await work
        self._tell(f"{name}: ready after {time.monotonic() - started:.1f} s")

    async def _fetch_jars(self) -> None:
        await fetch(self.site.data_dir, self.site.logs / "jars.log", self._tell)

    async def _start_engine(self, describe: Callable[[], Program]) -> None:
        program = await asyncio.to_thread(describe)
        is_up = partial(program.is_up, program.said())
        child = self._keep(program)

        async def has_said_so() -> bool:
            return is_up()

        await child.until_up(has_said_so, _UP_WITHIN)

    async def _make_topics(self) -> None:
        from loopwright_common.process.declare_topics import ensure_topics

        await ensure_topics(self.kafka.url)

    async def _start_services(self) -> None:
        """All at once: each imports for seconds, and together they use every core."""
        ports = {name: port for name, _, port in self.site.members()}
        async with httpx.AsyncClient(trust_env=False) as http, asyncio.TaskGroup() as group:
            for program in programs(self.site, self.kafka.url, self.postgres.url):
                is_up = partial(_is_ready, http, url(ports[program.name]))
                group.create_task(self._keep(program).until_up(is_up, _UP_WITHIN))

    def _keep(self, program: Program) -> Child:
        child = Child(program, self.on_end)
        self.children[program.name] = child
        return child

    async def _stop(self) -> None:
        """Services first, then what they need; ten seconds at most for each of the three steps."""
        engines = [self.children[name] for name in ("kafka", "postgresql") if name in self.children]
        services = [child for child in self.children.values() if child not in engines]
        await asyncio.gather(*(self._end(child) for child in services))
        for engine in engines:
            await self._end(engine)

    async def _end(self, child: Child) -> None:
        if not await child.stop():
            self._tell(f"{child.name} did not end when asked and was killed")


async def _is_ready(http: httpx.AsyncClient, service: str) -> bool:
    try:
        return (await http.get(f"{service}/readyz")).is_success
    except httpx.TransportError:
        return False
