"""What runs are done with: the parts of the trainer that every run shares."""

from dataclasses import dataclass
from pathlib import Path

from loopwright_common.database import Database
from loopwright_common.storage import ArtifactStore
from loopwright_trainer.git.mirror import Mirrors
from loopwright_trainer.metrics import TrainerMetrics
from loopwright_trainer.steps.runner import StepRunner
from loopwright_trainer.steps.step import RunDirectory
from loopwright_trainer.tracking.client import TrackingClient


@dataclass(frozen=True, slots=True)
class RunContext:
    """The trainer's collaborators; `directory` is this trainer's own, on its disk."""

    database: Database
    store: ArtifactStore
    mirrors: Mirrors
    tracking: TrackingClient
    steps: StepRunner
    directory: Path
    metrics: TrainerMetrics

    def run_directory(self, run_id: str) -> RunDirectory:
        """Where the run works and logs on this trainer; nothing is made yet."""
        return RunDirectory(self.directory / "runs" / run_id)
