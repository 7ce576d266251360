"""`python -m loopwright_deployer.packaging JOB`, or `--warm`: import all while there is no job.

A job is one JSON object, `{"source": DIR, "target": DIR, "digest": "sha256:...", "rows": FILE}`;
the optional `rows` is Parquet to compare forms on, `grant` what an administrator allows. Prints
lines of JSON: `{"opening": FILE}` before it opens what may end it, then `{"format", "why"}`, or
`{"error": "..."}` and exit status 1. With `--warm` the end of standard input ends the process.
"""

import json
import os
import select
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from loopwright_common.errors import LoopwrightError
from loopwright_common.process.subprocesses import take_stdout, write_answer
from loopwright_deployer.packaging.build import PackagingJob, build_package
from loopwright_deployer.packaging.isolated import Grant

_HEAVY = ("onnx", "onnxruntime", "yaml", "pyarrow.parquet", "pandas", "skops.io", "skl2onnx")


def main(arguments: list[str]) -> int:
    answers = take_stdout()
    if arguments == ["--warm"]:
        _import_while_idle()
        line = sys.stdin.readline()
    else:
        line = arguments[0] if arguments else ""
    if not line.strip():
        return 0 if arguments == ["--warm"] else 2

    answer = _answer(line, lambda file: write_answer(answers, {"opening": file}))
    write_answer(answers, answer)
    return 1 if "error" in answer else 0


def _answer(line: str, opening: Callable[[str], None]) -> dict[str, object]:
    fields = json.loads(line)
    job = PackagingJob(
        source=Path(fields["source"]),
        target=Path(fields["target"]),
        digest=fields["digest"],
        rows=Path(fields["rows"]) if fields.get("rows") else None,
        grant=_grant(fields.get("grant") or {}),
        opening=opening,
    )
    try:
        spec = build_package(job)
    except LoopwrightError as error:
        return {"error": str(error)}
    return {"format": spec.format, "why": spec.parity or f"serves {spec.file} as it is"}


def _grant(fields: dict[str, Any]) -> Grant:
    return Grant(fields.get("model", ""), fields.get("pickle", False))


def _import_while_idle() -> None:
    """A job that is there already needs but some of them."""
    for name in _HEAVY:
        if select.select([sys.stdin], [], [], 0)[0]:
            return
        import_module(name)


if __name__ == "__main__":
    # Tearing down the heavy libraries takes time, and nobody waits for that.
    os._exit(main(sys.argv[1:]))
