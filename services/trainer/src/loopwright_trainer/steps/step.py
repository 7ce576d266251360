"""A stage of a run with all that doing it takes, and where the run works."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loopwright_trainer.pipelines.stages import Stage
from loopwright_trainer.runs.domain import Output, PipelineRun, StageRun
from loopwright_trainer.runs.run_lease import RunLease
from loopwright_trainer.steps.environment import PythonEnvironment
from loopwright_trainer.steps.key import KeyParts
from loopwright_trainer.steps.workspace import StageInputs


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Where a run works: `logs` stay, `work` is cleared after every step."""

    path: Path

    @property
    def work(self) -> Path:
        return self.path / "work"

    def log(self, ordinal: int, attempt: int) -> Path:
        return self.path / "logs" / f"{ordinal:03d}.{attempt}.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStep:
    """A stage of a run, with all it takes; `started` is seconds of the monotonic clock."""

    run: PipelineRun
    lease: RunLease
    stage: Stage
    row: StageRun
    inputs: StageInputs
    earlier: Sequence[Output]
    environment: PythonEnvironment
    directory: RunDirectory
    started: float

    @property
    def log(self) -> Path:
        """The log of the attempt that goes on."""
        return self.directory.log(self.row.ordinal, self.row.attempts)

    def parts(self) -> KeyParts:
        return key_parts(self.stage, self.inputs, self.earlier, self.environment)


def key_parts(
    stage: Stage, inputs: StageInputs, earlier: Sequence[Output], environment: PythonEnvironment
) -> KeyParts:
    """What the key is made of; InvalidError for a dep or a param that is nowhere."""
    return KeyParts(
        stage=stage.name,
        commands=stage.commands,
        wdir=stage.wdir,
        outs=sorted(stage.outs),
        deps=inputs.digests(stage, earlier),
        params=inputs.params(stage),
        environment=environment.digest,
        python=environment.python,
        platform=environment.platform,
        seed=stage.seed,
    )
