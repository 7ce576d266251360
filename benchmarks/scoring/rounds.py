"""The rounds: each server alone, started anew, through all the cases of a model."""

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.scoring import loopwright
from benchmarks.scoring.measure import Case, measure, verify
from benchmarks.scoring.models import Model
from benchmarks.scoring.protocols import Question
from benchmarks.scoring.report import Figure, Figures
from benchmarks.scoring.running import RefusedError, Running, running, scratch
from benchmarks.scoring.servers import LOOPWRIGHT, SERVERS, Command, Place
from loopwright.ports import free_port, free_ports

_TRIVIAL = Path(__file__).parent / "services" / "trivial.py"


@dataclass(slots=True)
class Comparison:
    """What to measure, `seconds` each; `notes` say what was left out or seen."""

    servers: Sequence[str]
    environments: dict[str, Path]
    models: Sequence[Model]
    cases: Sequence[Case]
    seconds: float
    figures: Figures = field(default_factory=Figures)
    notes: dict[str, str] = field(default_factory=dict)

    def run(self, rounds: int) -> None:
        for number in range(rounds):
            first = number % len(self.servers)
            for model in self.models:
                for name in (*self.servers[first:], *self.servers[:first]):
                    try:
                        self._measure(model, name, number)
                    except RefusedError as error:
                        self.notes[f"{name} left out of {model.name}"] = str(error)

    def _measure(self, model: Model, name: str, number: int) -> None:
        spoken = SERVERS[name].spoken
        with self._started(model, name) as server:
            server.wait_for(Case(1, 1).questions(model, spoken)[0])
            self.figures.at_rest[model.name, name].append(server.memory())
            for case in self.cases:
                if spoken.has_binary or not case.binary:
                    self._load(model, case, server, number)

    @contextmanager
    def _started(self, model: Model, name: str) -> Generator[Running, None, None]:
        server = SERVERS[name]
        with scratch() as directory, loopwright.bus(directory, on_kafka=server.on_kafka) as bus:
            port, *more = free_ports("http", "second", "third").values()
            environment = self.environments.get(name, Path(sys.prefix))
            place = Place(environment, directory, bus, port, (more[0], more[1]))
            with running(name, server.command(model, place), port, directory) as started:
                yield started

    def _load(self, model: Model, case: Case, server: Running, number: int) -> None:
        spoken = SERVERS[server.name].spoken
        questions = case.questions(model, spoken)
        try:
            verify(server, spoken, questions, model.expected)
            with self._dropped_noted(f"{model.name}, {case}, round {number + 1}", server):
                result = measure(server, questions, case.connections, self.seconds)
        except RefusedError as error:
            self.notes[f"{server.name} left out of {model.name}, {case}"] = str(error)
            return
        figure = Figure.of(result, server.memory())
        self.figures.loaded[model.name, case][server.name][number] = figure
        print(f"{model.name}: {case}: {server.name}: {figure.rate:,.0f}/s", file=sys.stderr)

    @contextmanager
    def _dropped_noted(self, what: str, server: Running) -> Generator[None, None, None]:
        """A rate that cost records is no rate with recording on."""
        if server.name != LOOPWRIGHT:
            yield
            return
        before = loopwright.dropped(server.port)
        yield
        if lost := loopwright.dropped(server.port) - before:
            self.notes[f"{what}: rows not recorded for want of room"] = f"{lost:.0f}"


def generator_limits(seconds: float) -> Iterator[str]:
    """What the load generator reaches where an answer costs next to nothing."""
    with scratch() as directory:
        port = free_port()
        command = Command([sys.executable, str(_TRIVIAL), str(port)])
        question = Question("/", {"Content-Type": "application/json"}, b"x" * 400)
        with running("trivial", command, port, directory) as process:
            process.wait_for(question)
            for connections in (1, 16):
                result = measure(process, [question], connections, seconds)
                yield (
                    f"load generator against a trivial server, concurrency {connections}: "
                    f"{result.answered / result.seconds:,.0f} requests/s, p50 {result.p50:.3f} ms"
                )
