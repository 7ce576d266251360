"""What a package that runs apart is: asked by the deployer's packaging, one line in, one out."""

import json
import os
import sys
from pathlib import Path

from pydantic import BaseModel, ValidationError

from loopwright_common.errors import LoopwrightError, UnavailableError
from loopwright_common.serving.spec import SPEC_FILE, ServingSpec
from loopwright_scorer.isolated.environments import lacking
from loopwright_scorer.isolated.limits import Quarters
from loopwright_scorer.isolated.runtime import described
from loopwright_scorer.tensors.example_rows import example_of
from loopwright_scorer.tensors.signature import compile_signature


class Question(BaseModel):
    """`environments` as in the order of a staging scorer."""

    package: Path
    environments: Path | None = None


def main() -> int:
    try:
        question = Question.model_validate_json(sys.stdin.readline())
        answer = _answer(question)
    except (LoopwrightError, ValidationError, OSError) as error:
        answer = {"error": str(error), "passing": isinstance(error, UnavailableError)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return 1 if "error" in answer else 0


def _answer(question: Question) -> dict[str, object]:
    directory = question.package
    spec = ServingSpec.model_validate_json((directory / SPEC_FILE).read_bytes())
    quarters = Quarters(directory.with_suffix(".apart"), question.environments)
    try:
        found = described(
            directory, spec, example_of(spec, compile_signature(spec)).arrays, quarters
        )
    finally:
        quarters.clean()
        quarters.built().prune()
    assert spec.apart is not None  # noqa: S101  (it was opened)
    own = bool(lacking(spec.apart.requirements, spec.apart.python))
    told = ("task", "classes", "targets", "predicts")
    return {name: found[name] for name in told if name in found} | {"own": own}


if __name__ == "__main__":
    os._exit(main())
