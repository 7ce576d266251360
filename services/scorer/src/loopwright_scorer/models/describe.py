"""Describes an isolated package for the deployer's packaging: one line in, one line out."""

import json
import os
import sys
from pathlib import Path

from pydantic import BaseModel, ValidationError

from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.process.subprocesses import take_stdout
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_scorer.isolated.environments import missing_requirements
from loopwright_scorer.isolated.limits import IsolationConfig
from loopwright_scorer.isolated.worker_supervisor import describe_package
from loopwright_scorer.tensors.example_rows import example_of
from loopwright_scorer.tensors.signature import compile_signature


class DescribeRequest(BaseModel):
    """`environments` as in the order of a staging scorer."""

    package: Path
    environments: Path | None = None


def main() -> int:
    answers = take_stdout()
    try:
        request = DescribeRequest.model_validate_json(sys.stdin.readline())
        answer = _answer(request)
    except (LoopwrightError, ValidationError, OSError) as error:
        answer = {"error": str(error), "transient": isinstance(error, UnavailableError)}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    return 1 if "error" in answer else 0


def _answer(request: DescribeRequest) -> dict[str, object]:
    directory = request.package
    spec = ServingSpec.model_validate_json((directory / SPEC_FILE).read_bytes())
    isolation = IsolationConfig(directory.with_suffix(".isolated"), request.environments)
    try:
        description = describe_package(
            directory, spec, example_of(spec, compile_signature(spec)).arrays, isolation
        )
    finally:
        isolation.remove_leftovers()
        isolation.environment_cache().prune()
    assert spec.isolated is not None  # noqa: S101  (it was opened)
    own = bool(missing_requirements(spec.isolated.requirements, spec.isolated.python))
    names = ("task", "classes", "targets", "predicts")
    return {name: description[name] for name in names if name in description} | {"own": own}


if __name__ == "__main__":
    os._exit(main())
