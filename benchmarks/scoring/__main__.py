"""Loopwright's scorer beside other model servers: the same models and rows, one worker each.

One server runs at a time, started anew in each round, and is loaded over loopback from another
process, which takes a core of its own. All are asked for the probabilities of the same rows, and
nothing is measured unless they are those of the fitted estimator. The other servers live in
environments of their own under a cache directory, installed first.

    python -m benchmarks.scoring [--servers loopwright,mlserver] [--models logistic]
        [--cases row-16] [--wires json] [--seconds 5] [--rounds 3] [--markdown FILE]
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.scoring import environments, models
from benchmarks.scoring.measure import Case
from benchmarks.scoring.report import markdown
from benchmarks.scoring.rounds import Comparison, generator_limits
from benchmarks.scoring.running import scratch
from benchmarks.scoring.servers import SERVERS, USUAL

_SHAPES = {"row-1": (1, 1), "row-16": (1, 16), "batch": (256, 4)}
"""Rows and connections."""
_WIRES = ("json", "binary")


def main() -> None:
    asked = _asked()
    places = _installed(asked.servers, asked.environments)
    about = [f"{name}: {environments.versions(place)}" for name, place in places.items()]
    about += generator_limits(asked.seconds)
    print(*about, sep="\n", flush=True)
    with scratch() as place:
        comparison = Comparison(
            servers=asked.servers,
            environments=places,
            models=[models.make(name, place) for name in asked.models],
            cases=[
                Case(*_SHAPES[shape], wire == "binary")
                for shape in asked.cases
                for wire in asked.wires
            ],
            seconds=asked.seconds,
        )
        comparison.run(asked.rounds)
    about += [f"{what}: {why}" for what, why in comparison.notes.items()]
    told = markdown(comparison.figures, about)
    print(told)
    if asked.markdown:
        asked.markdown.write_text(told)


def _installed(servers: Iterable[str], cache: Path) -> dict[str, Path]:
    """The environment of each server that is not the project's own."""
    return {
        name: environments.ensure(SERVERS[name].shares or name, SERVERS[name].packages, cache)
        for name in servers
        if SERVERS[name].packages
    }


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scoring",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, known, usual in (
        ("servers", SERVERS, USUAL),
        ("models", models.MAKERS, models.MAKERS),
        ("cases", _SHAPES, _SHAPES),
        ("wires", _WIRES, _WIRES),
    ):
        parser.add_argument(
            f"--{name}",
            type=_some_of(name, known),
            default=list(usual),
            help=f"of {','.join(known)}; usually {','.join(usual)}",
        )
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--environments", type=Path, default=environments.CACHE, metavar="DIR")
    return parser.parse_args()


def _some_of(what: str, known: Iterable[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"no {what} {unknown}; there are {list(known)}")
        return names

    return read


if __name__ == "__main__":
    main()
