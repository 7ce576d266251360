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
from loopwright.fleet.download import fetch
from loopwright.fleet.services import FleetLayout, grpc_port, programs, url
from loopwright.fleet.supervised_process import ProcessExit, SupervisedProcess
from loopwright.ports import check_port

_UP_WITHIN = 180.0


class Fleet:
    """Runs while entered; whichever process dies meanwhile is started again."""

    def __init__(self, layout: FleetLayout, report: Callable[[str], None]) -> None:
        engines = layout.data_dir / "engines"
        self.layout = layout
        self.kafka = Kafka(engines / "kafka")
        self.postgres = Postgres(engines / "postgresql")
        self.processes: dict[str, SupervisedProcess] = {}
        self.on_exit = self.report_exit
        self._report = report

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where everything is."""
        services = {}
        for name, service, port in self.layout.members():
            services[name] = url(port)
            if service == "scorer" and (grpc := grpc_port(self.layout, port)):
                services[f"{name} gRPC"] = f"127.0.0.1:{grpc}"
        return {
            **services,
            "kafka": self.kafka.address,
            "postgresql": self.postgres.url,
            "logs": str(self.layout.logs),
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

    def report_exit(self, process: SupervisedProcess, exited: ProcessExit) -> None:
        status = exited.status
        how = f"status {status}" if status >= 0 else signal.Signals(-status).name
        self._report(
            f"{process.name} ended ({how}) after {exited.lived:.0f} s and is started again in "
            f"{exited.pause:.1f} s; its log is {process.program.log}"
        )

    async def _start(self) -> None:
        self.kafka.check_ports()
        for _, service, port in self.layout.members():
            check_port(port, service, f"set LOOPWRIGHT_{service.upper()}_PORT")
        self.layout.logs.mkdir(parents=True, exist_ok=True)
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
        self._report(f"starting {name}")
        started = time.monotonic()
        await work
        self._report(f"{name}: ready after {time.monotonic() - started:.1f} s")

    async def _fetch_jars(self) -> None:
        await fetch(self.layout.data_dir, self.layout.logs / "jars.log", self._report)

    async def _start_engine(self, describe: Callable[[], Program]) -> None:
        program = await asyncio.to_thread(describe)
        is_up = partial(program.is_up, program.said())
        process = self._supervise(program)

        async def has_said_so() -> bool:
            return is_up()

        await process.wait_until_up(has_said_so, _UP_WITHIN)

    async def _make_topics(self) -> None:
        from loopwright_common.process.declare_topics import ensure_topics

        await ensure_topics(self.kafka.url)

    async def _start_services(self) -> None:
        """All at once: each imports for seconds, and together they use every core."""
        ports = {name: port for name, _, port in self.layout.members()}
        async with httpx.AsyncClient(trust_env=False) as http, asyncio.TaskGroup() as group:
            for program in programs(self.layout, self.kafka.url, self.postgres.url):
                is_up = partial(_is_ready, http, url(ports[program.name]))
                group.create_task(self._supervise(program).wait_until_up(is_up, _UP_WITHIN))

    def _supervise(self, program: Program) -> SupervisedProcess:
        process = SupervisedProcess(program, self.on_exit)
        self.processes[program.name] = process
        return process

    async def _stop(self) -> None:
        """Services first, then what they need; ten seconds at most for each of the three steps."""
        processes = self.processes
        engines = [processes[name] for name in ("kafka", "postgresql") if name in processes]
        services = [process for process in self.processes.values() if process not in engines]
        await asyncio.gather(*(self._end(process) for process in services))
        for engine in engines:
            await self._end(engine)

    async def _end(self, process: SupervisedProcess) -> None:
        if not await process.stop():
            self._report(f"{process.name} did not end when asked and was killed")


async def _is_ready(http: httpx.AsyncClient, service: str) -> bool:
    try:
        return (await http.get(f"{service}/readyz")).is_success
    except httpx.TransportError:
        return False
