"""What the trainer is told."""

from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from sqlalchemy.engine import make_url

from loopwright_common.process.directory_lock import exclusive_directory
from loopwright_common.settings import ServiceSettings

_UNSHARED_LEASE = timedelta(minutes=5)


class TrainerSettings(ServiceSettings):
    service: ClassVar[str] = "trainer"
    port: int = 8002
    directory: Path | None = None
    """Mirrors, workspaces and logs; by default `trainer` beside the SQLite databases."""
    poll_seconds: float = Field(default=10, gt=0)
    """How often registered repositories are asked for new commits."""
    parallel_runs: int = Field(default=2, ge=1, le=64)
    """Runs at a time; those of one repository never overlap."""
    stage_timeout_seconds: float = Field(default=3600, gt=0)
    """Time limit of stages and checks that name none."""

    lease_seconds: float = Field(default=10, gt=0.1, le=3600)
    """How long after a trainer's death another one goes on with its runs (on PostgreSQL)."""

    @property
    def lease(self) -> timedelta:
        """On SQLite nobody else could take over: long enough to sit out a full disk."""
        shared = make_url(self.database_url).get_backend_name() != "sqlite"
        return timedelta(seconds=self.lease_seconds) if shared else _UNSHARED_LEASE

    @property
    def work_directory(self) -> Path:
        return (self.directory or self.data_directory / "trainer").absolute()

    def own_directory(self) -> AbstractContextManager[None]:
        """Held while entered; ConflictError while another trainer has it.

        UnavailableError where nothing can be written there.
        """
        remedy = "set LOOPWRIGHT_TRAINER_DIRECTORY to a directory of this trainer's own"
        return exclusive_directory(self.work_directory, "trainer", remedy)
