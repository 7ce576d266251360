"""`... FORMAT SEED FIRST LAST FILE`: reads damaged inputs one after the other, and says which.

Before an input is read its number is written to standard output, so that whoever started this
knows what it died of. With a FILE as the only other argument that one input is read.
"""

import contextlib
import faulthandler
import os
import random
import resource
import sys
import warnings
from pathlib import Path

from loopwright_deployer.packaging.sources.mlmodel import PackageSource
from tests.fuzz.formats import FORMATS, read, source_of

MEMORY = 4 << 30
GREEDY = 3 << 29
STATUS_OF_GREED = 77


def damaged(name: str, seed: int, number: int) -> bytes:
    """The input of a number: the same for ever, whatever was read before it."""
    chosen = FORMATS[name]
    content = (source_of(name).file).read_bytes()
    return chosen.damage(content, random.Random(f"{name} {seed} {number}"))  # noqa: S311


def main(name: str, arguments: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    says = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    faulthandler.enable(os.fdopen(os.dup(2), "w"))  # says where, when it crashes
    os.dup2(1, 2)
    source = source_of(name)
    if len(arguments) == 1:
        _read(name, source, Path(arguments[0]))
        return
    seed, first, last = map(int, arguments[:3])
    file = Path(arguments[3])
    for number in range(first, last):
        file.write_bytes(damaged(name, seed, number))
        says.write(f"{number}\n")
        _read(name, source, file)
    says.write(f"{last}\n")


def _read(name: str, source: PackageSource, file: Path) -> None:
    """What a reader raises is an answer; to take gigabytes for kilobytes is none."""
    with contextlib.suppress(Exception):
        read(name, source, file)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > GREEDY >> 10:
        os._exit(STATUS_OF_GREED)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
    os._exit(0)
