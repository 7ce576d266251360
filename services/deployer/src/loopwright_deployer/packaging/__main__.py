"""`python -m loopwright_deployer.packaging JOB` or `--spare`: import all, then wait for the job.

A job is one JSON object, `{"source": DIR, "target": DIR, "digest": "sha256:...", "rows": FILE}`;
the optional `rows` is Parquet to compare forms on. Prints one JSON line: `{"format", "why"}`, or
`{"error": "..."}` with exit status 1. In spare mode the end of standard input ends the process.
"""

import json
import os
import sys
from pathlib import Path

from loopwright_common.errors import LoopwrightError
from loopwright_deployer.packaging.build import Job, build


def main(arguments: list[str]) -> int:
    # Whatever a library prints must not be taken for the answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if arguments == ["--spare"]:
        _import_all()
        line = sys.stdin.readline()
    else:
        line = arguments[0] if arguments else ""
    if not line.strip():
        return 0 if arguments == ["--spare"] else 2
    answer = _answer(line)
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    return 1 if "error" in answer else 0


def _answer(line: str) -> dict[str, str]:
    asked = json.loads(line)
    job = Job(
        source=Path(asked["source"]),
        target=Path(asked["target"]),
        digest=asked["digest"],
        rows=Path(asked["rows"]) if asked.get("rows") else None,
    )
    try:
        spec = build(job)
    except LoopwrightError as error:
        return {"error": str(error)}
    return {"format": spec.format, "why": spec.parity or f"serves {spec.file} as it is"}


def _import_all() -> None:
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import pandas as pd  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import skl2onnx  # noqa: F401
    import skops.io  # noqa: F401
    import yaml  # noqa: F401


if __name__ == "__main__":
    # Tearing down the heavy libraries takes time, and nobody waits for that.
    os._exit(main(sys.argv[1:]))
