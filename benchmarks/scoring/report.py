"""The figures as Markdown: medians over the rounds, ratios to Loopwright with their spread."""

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.scoring.load import Result
from benchmarks.scoring.measure import Case
from benchmarks.scoring.servers import FLOOR, LOOPWRIGHT

_Figure = Callable[[Result], float]


@dataclass(slots=True)
class Figures:
    """Everything measured; a list has one entry a round."""

    results: dict[tuple[str, Case], dict[str, list[Result]]] = field(default_factory=dict)
    memory: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """MiB by model and server, after its cases."""

    def add(self, model: str, case: Case, server: str, result: Result) -> None:
        of_case = self.results.setdefault((model, case), {})
        of_case.setdefault(server, []).append(result)


def rate(result: Result) -> float:
    return result.answered / result.seconds


def cpu(result: Result) -> float:
    """Milliseconds of the server's CPU time per request."""
    return 1e3 * result.cpu / result.answered


def markdown(figures: Figures, about: Sequence[str]) -> str:
    """`about`: lines on what ran, one bullet each."""
    lines = [f"- {line}" for line in (_machine(), *about)]
    lines += ["", *_summary(figures)]
    for (model, case), of_case in figures.results.items():
        lines += ["", f"### {model}: {case}", "", *_table(model, of_case, figures)]
    return "\n".join(lines) + "\n"


def _table(model: str, of_case: dict[str, list[Result]], figures: Figures) -> Iterable[str]:
    yield "| | requests/s | p50 ms | p99 ms | CPU ms | PSS MiB | rate | p50 | CPU |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    ours = of_case.get(LOOPWRIGHT, [])
    for server, results in of_case.items():
        cells = [
            f"{_median(results, rate):,.0f}",
            f"{_median(results, _p50):.2f}",
            f"{_median(results, _p99):.2f}",
            f"{_median(results, cpu):.3f}",
            f"{statistics.median(figures.memory[model, server]):.0f}",
            _spread(_ratios(ours, results, rate)),
            _spread(_ratios(results, ours, _p50)),
            _spread(_ratios(results, ours, cpu)),
        ]
        yield f"| {server} | {' | '.join(cells)} |"


def _summary(figures: Figures) -> Iterable[str]:
    """Loopwright against the fastest of the others, and against the floor."""
    yield "Times better than each: median (lowest to highest round).  "
    yield "rate: requests per second; CPU: requests per second of CPU time, that is per core."
    yield ""
    yield "| model | case | best peer | rate | p50 | CPU | rate to the floor | CPU to the floor |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for (model, case), of_case in figures.results.items():
        ours = of_case.get(LOOPWRIGHT)
        peers = [name for name in of_case if name != FLOOR and not name.startswith(LOOPWRIGHT)]
        if not ours:
            continue
        cells = ["none", "", "", ""]
        if peers:
            best = max(peers, key=lambda name: _median(of_case[name], rate))
            theirs = of_case[best]
            cells = [
                best,
                _spread(_ratios(ours, theirs, rate)),
                _spread(_ratios(theirs, ours, _p50)),
                _spread(_ratios(theirs, ours, cpu)),
            ]
        floor = of_case.get(FLOOR, [])
        cells += [_spread(_ratios(ours, floor, rate)), _spread(_ratios(floor, ours, cpu))]
        yield f"| {model} | {case} | {' | '.join(cells)} |"


def _ratios(over: Sequence[Result], under: Sequence[Result], figure: _Figure) -> list[float]:
    """Round by round."""
    return [figure(a) / figure(b) for a, b in zip(over, under, strict=False)]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


def _median(results: Sequence[Result], figure: _Figure) -> float:
    return statistics.median(figure(result) for result in results)


def _p50(result: Result) -> float:
    return result.p50


def _p99(result: Result) -> float:
    return result.p99


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
    return f"{os.cpu_count()} cores of {name}, Python {platform.python_version()}"
