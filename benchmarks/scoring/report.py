"""The figures as Markdown: medians over the rounds, ratios to Loopwright with their spread."""

import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from benchmarks.scoring.load import Result
from benchmarks.scoring.measure import Case
from benchmarks.scoring.servers import FLOOR, LOOPWRIGHT


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement: `cpu` in ms of the server's time per request, `memory` in MiB after it."""

    rate: float
    p50: float
    p99: float
    cpu: float
    memory: float

    @classmethod
    def of(cls, result: Result, memory: float) -> "Figure":
        rate, cpu = result.answered / result.seconds, 1e3 * result.cpu / result.answered
        return cls(rate, result.p50, result.p99, cpu, memory)


Rounds = dict[int, Figure]
_Reading = Callable[[Figure], float]
_rate, _p50, _p99, _cpu, _memory = map(attrgetter, ("rate", "p50", "p99", "cpu", "memory"))


def _by_server() -> dict[str, Rounds]:
    return defaultdict(dict)


@dataclass(slots=True)
class Figures:
    """By model and case, server and round; `at_rest`: MiB of model and server before any load."""

    loaded: dict[tuple[str, Case], dict[str, Rounds]] = field(
        default_factory=lambda: defaultdict(_by_server)
    )
    at_rest: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))


def markdown(figures: Figures, about: Sequence[str]) -> str:
    """`about`: lines on what ran, one bullet each."""
    lines = [f"- {line}" for line in (_machine(), *about)]
    lines += ["", *_summary(figures), "", *_at_rest(figures)]
    for (model, case), of_case in figures.loaded.items():
        lines += ["", f"### {model}: {case}", "", *_table(of_case)]
    return "\n".join(lines) + "\n"


def _summary(figures: Figures) -> Iterable[str]:
    """Loopwright against the fastest of the others, and against the floor."""
    yield "How many times better Loopwright is than the best peer and the floor: median of the"
    yield "rounds (lowest to highest). rate: requests per second; CPU: the same per second of the"
    yield "server's CPU time, that is per core."
    yield ""
    yield "| model | case | best peer | rate | p50 | CPU | rate to the floor | CPU to the floor |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for (model, case), of_case in figures.loaded.items():
        ours = of_case.get(LOOPWRIGHT, {})
        peers = [name for name in of_case if name != FLOOR and not name.startswith(LOOPWRIGHT)]
        best = max(peers, key=lambda name: _median(of_case[name], _rate), default="")
        floor = of_case.get(FLOOR, {})
        cells = [
            best,
            *_better(ours, of_case.get(best, {}), _rate, _p50, _cpu),
            *_better(ours, floor, _rate, _cpu),
        ]
        yield f"| {model} | {case} | {' | '.join(cells)} |"


def _at_rest(figures: Figures) -> Iterable[str]:
    models = list(dict.fromkeys(model for model, _ in figures.at_rest))
    yield f"| MiB (PSS) after the first answer | {' | '.join(models)} |"
    yield f"| --- |{' ---: |' * len(models)}"
    for server in dict.fromkeys(server for _, server in figures.at_rest):
        found = [figures.at_rest.get((model, server)) for model in models]
        cells = [f"{statistics.median(values):.0f}" if values else "" for values in found]
        yield f"| {server} | {' | '.join(cells)} |"


def _table(of_case: Mapping[str, Rounds]) -> Iterable[str]:
    yield (
        "| | requests/s | p50 ms | p99 ms | CPU ms | PSS MiB "
        "| rate: ours / its | p50: its / ours | CPU: its / ours |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    ours = of_case.get(LOOPWRIGHT, {})
    for server, rounds in of_case.items():
        cells = [
            f"{_median(rounds, _rate):,.0f}",
            f"{_median(rounds, _p50):.2f}",
            f"{_median(rounds, _p99):.2f}",
            f"{_median(rounds, _cpu):.3f}",
            f"{_median(rounds, _memory):.0f}",
            *_better(ours, rounds, _rate, _p50, _cpu),
        ]
        yield f"| {server} | {' | '.join(cells)} |"


def _better(ours: Rounds, theirs: Rounds, *readings: _Reading) -> list[str]:
    """How many times better ours are, round by round."""
    both = sorted(ours.keys() & theirs.keys())
    cells = []
    for read in readings:
        ratios = [read(theirs[number]) / read(ours[number]) for number in both]
        if read is _rate:
            ratios = [1 / ratio for ratio in ratios]
        cells.append(_spread(ratios))
    return cells


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


def _median(rounds: Rounds, read: _Reading) -> float:
    return statistics.median(read(figure) for figure in rounds.values())


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
    cores = f"{os.cpu_count()} cores of {name}, shared with the load generator"
    return f"{cores}; Python {platform.python_version()}"
