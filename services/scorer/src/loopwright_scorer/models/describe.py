"""Describes an isolated package for the deployer's packaging: one line in, one line out."""

import os
import sys
from pathlib import Path

from pydantic import BaseModel, ValidationError

from loopwright_common.errors import LoopwrightError, UnavailableError, without_paths
from loopwright_common.process.subprocesses import take_stdout, write_answer
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_scorer.isolated.limits import confined_already
from loopwright_scorer.isolated.worker_supervisor import describe_package
from loopwright_scorer.tensors.example_rows import example_of
from loopwright_scorer.tensors.signature import compile_signature


class DescribeRequest(BaseModel):
    """`python` is what the package runs on."""

    package: Path
    python: Path


def main() -> int:
    answers = take_stdout()
    try:
        request = DescribeRequest.model_validate_json(sys.stdin.readline())
        answer = _answer(request)
    except (LoopwrightError, ValidationError, OSError) as error:
        answer = {"error": without_paths(error), "transient": isinstance(error, UnavailableError)}
    write_answer(answers, answer)
    return 1 if "error" in answer else 0


def _answer(request: DescribeRequest) -> dict[str, object]:
    directory = request.package
    spec = ServingSpec.model_validate_json((directory / SPEC_FILE).read_bytes())
    isolation = confined_already(directory.with_suffix(".isolated"), request.python)
    example = example_of(spec, compile_signature(spec)).arrays
    description = describe_package(directory, spec, example, isolation)
    names = ("task", "classes", "targets", "predicts")
    return {name: description[name] for name in names if name in description}


if __name__ == "__main__":
    os._exit(main())
