"""`python -m tests.fuzz [--inputs N] [--seed S] [FORMAT ...]`; goes on where it was interrupted."""

import argparse
import json
import time
from pathlib import Path

from tests.fuzz.findings import Finding, keep, shrink
from tests.fuzz.formats import FORMATS
from tests.fuzz.runs import read_batch

STATE = Path(".fuzz")
_BATCH = 2000
"""Inputs that one process reads: to start it takes as long as to read a hundred."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("formats", nargs="*", choices=[*FORMATS, []])
    parser.add_argument("--inputs", type=int, default=100_000, help="for each format")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    for name in asked.formats or FORMATS:
        fuzz(name, asked.seed, asked.inputs)


def fuzz(name: str, seed: int, inputs: int) -> None:
    """Read inputs up to the number, from where the last run stopped."""
    STATE.mkdir(exist_ok=True)
    state = STATE / f"{name}-{seed}.json"
    done, found = 0, {}
    if state.exists():
        done, found = json.loads(state.read_text()).values()
    started, first = time.monotonic(), done
    while done < inputs:
        done, finding = read_batch(name, seed, done, min(done + _BATCH, inputs))
        if finding is not None:
            found[finding.kind] = found.get(finding.kind, 0) + 1
            _keep_new(name, finding, new=found[finding.kind] == 1)
        state.write_text(json.dumps({"done": done, "found": found}))
        rate = (done - first) / (time.monotonic() - started)
        print(f"\r{name}: {done} of {inputs}, {rate:.0f}/s, {found}", end="", flush=True)  # noqa: T201
    print()  # noqa: T201


def _keep_new(name: str, finding: Finding, *, new: bool) -> None:
    """The first of each kind, made as small as it goes."""
    if new:
        keep(name, shrink(name, finding))


if __name__ == "__main__":
    main()
