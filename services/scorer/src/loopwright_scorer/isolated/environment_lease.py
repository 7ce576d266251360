"""Holds an environment for the deployer: one line in, one line out, and its lease until the end.

`{"environments": DIR, "requirements": [...], "python": "3.11" or null, "index_addresses": [...]}`
is answered with `{"python": PATH, "paths": [...]}`, where `paths` are what the Python is made of
unless it is ours, or with `{"error": "...", "transient": BOOL}`.
"""

import os
import sys
from pathlib import Path

from pydantic import BaseModel, ValidationError

from loopwright_common.egress.addresses import AllowedAddress
from loopwright_common.egress.index_access import IndexAccess
from loopwright_common.errors import LoopwrightError, UnavailableError, without_paths
from loopwright_common.process.subprocesses import take_stdout, write_answer
from loopwright_common.sandbox import detect
from loopwright_scorer.isolated.environments import EnvironmentCache


class LeaseRequest(BaseModel):
    """What a package requires, where environments are kept, and what uv may reach for them."""

    environments: Path
    requirements: list[str]
    python: str | None = None
    index_addresses: list[AllowedAddress] = []


def main() -> int:
    answers = take_stdout()
    try:
        request = LeaseRequest.model_validate_json(sys.stdin.readline())
        access = IndexAccess(request.index_addresses)
        cache = EnvironmentCache(request.environments, detect(), access)
        lease = cache.acquire(request.requirements, request.python)
        if os.geteuid() == 0:
            lease.open_to_others()
    except (LoopwrightError, ValidationError, OSError) as error:
        write_answer(
            answers,
            {"error": without_paths(error), "transient": isinstance(error, UnavailableError)},
        )
        return 1
    write_answer(
        answers, {"python": str(lease.python), "paths": [str(path) for path in lease.paths]}
    )
    sys.stdin.read()
    lease.release()
    cache.prune()
    return 0


if __name__ == "__main__":
    os._exit(main())
