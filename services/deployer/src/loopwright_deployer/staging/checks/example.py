"""Is the package's own example answered?"""

import asyncio

from loopwright_common.events import Check
from loopwright_common.wording import counted
from loopwright_deployer.staging.checks.base import StagedVersion, StagingContext, verdict_of
from loopwright_deployer.staging.evaluation.sample_requests import fault_of, inputs_of

NAME = "example"


class ExampleCheck:
    """The package's input example is answered."""

    name = NAME

    async def run(self, staged: StagingContext) -> Check:
        return await asyncio.to_thread(check_example, staged.candidate)


def check_example(candidate: StagedVersion) -> Check:
    """The package's own example is answered with finite figures."""
    spec = candidate.spec
    if spec.example is None:
        return verdict_of(NAME, "skipped", "the package brings no input example")
    rows = len(next(iter(spec.example.values())))
    if fault := fault_of(candidate.client.infer(inputs_of(spec, spec.example)), spec):
        return verdict_of(NAME, "failed", f"the package's own example: {fault}")
    return verdict_of(NAME, "passed", f"{counted(rows, 'example row')} answered")
