"""What the trainer is told."""

from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator
from sqlalchemy.engine import make_url

from loopwright_common.egress.addresses import parse_allowed
from loopwright_common.process.directory_lock import exclusive_directory
from loopwright_common.sandbox import Level
from loopwright_common.settings import Port, ServiceSettings
from loopwright_trainer.git.remotes import GitAccess, secret_file

_UNSHARED_LEASE = timedelta(minutes=5)
_LEAST_MEMORY = 256 << 20


class TrainerSettings(ServiceSettings):
    service: ClassVar[str] = "trainer"
    port: Port = 8002
    directory: Path | None = None
    """Mirrors, workspaces and logs; by default `trainer` beside the SQLite databases."""
    poll_seconds: float = Field(default=10, gt=0)
    """How often registered repositories are asked for new commits."""
    parallel_runs: int = Field(default=2, ge=1, le=64)
    """Runs at a time; those of one repository never overlap."""
    stage_timeout_seconds: float = Field(default=3600, gt=0)
    """Time limit of stages and checks that name none."""
    sandbox_minimum: Level = Level.PROCESS
    """Weakest level at which it starts: none, process, container or namespace."""
    stage_memory: int = Field(default=0, ge=0)
    """Bytes of address space of each process of a stage, and with cgroups of memory of all of them;
    256 MiB or more, or 0 for as much as the machine has."""
    stage_processes: int = Field(default=1024, ge=16, le=1 << 20)
    """Processes and threads of a stage; binds root at sandbox level process only with cgroups."""
    stage_disk: int = Field(default=20 << 30, ge=1 << 20)
    """Bytes that a stage may have of its commit, and that it may write, its log included."""
    stage_readable: str = ""
    """Directories that stages may read beside their own, with colons between."""
    stage_writable: str = ""
    """Directories that stages may write beside their own; open to everyone where we are root."""
    local_repositories: str = ""
    """Directories of this machine, with colons between, whose repositories may be registered."""
    git_addresses: str = ""
    """What git may reach beside public addresses: `10.1.0.0/16,127.0.0.1:3000,[::1]:3000`."""
    git_credentials: Path | None = None
    """A file of lines `https://USER:TOKEN@HOST/PATH`, each for one repository, as git has them."""
    git_ssh_config: Path | None = None
    """An ssh_config with the keys that git may use; the user's own ones are left alone."""
    lease_seconds: float = Field(default=10, gt=0.1, le=3600)
    """How long after a trainer's death another one goes on with its runs (on PostgreSQL)."""

    @field_validator("stage_memory")
    @classmethod
    def _a_stage_can_start(cls, memory: int) -> int:
        if 0 < memory < _LEAST_MEMORY:
            raise ValueError(
                f"{memory} bytes are too few for any stage to start: give {_LEAST_MEMORY} or more, "
                "or 0 for as much as the machine has"
            )
        return memory

    @property
    def lease(self) -> timedelta:
        """On SQLite nobody else could take over: long enough to sit out a full disk."""
        shared = make_url(self.database_url).get_backend_name() != "sqlite"
        return timedelta(seconds=self.lease_seconds) if shared else _UNSHARED_LEASE

    @property
    def work_directory(self) -> Path:
        return (self.directory or self.data_directory / "trainer").absolute()

    @property
    def git_access(self) -> GitAccess:
        """What git may reach; InvalidError for a setting that says nothing of the kind."""
        roots = [Path(root).expanduser() for root in self.local_repositories.split(":") if root]
        return GitAccess(
            roots,
            parse_allowed(self.git_addresses, "LOOPWRIGHT_TRAINER_GIT_ADDRESSES"),
            secret_file(self.git_credentials, "LOOPWRIGHT_TRAINER_GIT_CREDENTIALS"),
            secret_file(self.git_ssh_config, "LOOPWRIGHT_TRAINER_GIT_SSH_CONFIG"),
        )

    def own_directory(self) -> AbstractContextManager[None]:
        """Held while entered; ConflictError while another trainer has it.

        UnavailableError where nothing can be written there.
        """
        remedy = "set LOOPWRIGHT_TRAINER_DIRECTORY to a directory of this trainer's own"
        return exclusive_directory(self.work_directory, "trainer", remedy)
