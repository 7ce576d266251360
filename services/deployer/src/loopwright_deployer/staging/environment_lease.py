"""The Python that a package of other requirements runs on, built and kept while it is needed."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from loopwright_common.egress.index_access import IndexAccess, index_variables
from loopwright_common.sandbox import Level, Sandbox
from loopwright_common.serving.spec import IsolatedSpec
from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.confined_process import ConfinedProcess

_LEASE = (sys.executable, "-m", "loopwright_scorer.isolated.environment_lease")
_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Environment:
    """`paths` are what the Python is made of, beside what every sandboxed command sees."""

    python: Path
    paths: tuple[Path, ...]

    @property
    def is_own(self) -> bool:
        """Whether it is another than ours."""
        return bool(self.paths)


@dataclass(frozen=True, slots=True)
class EnvironmentDirectory:
    """Where environments are kept, and what uv may reach when it builds one."""

    path: Path
    index_access: IndexAccess


@asynccontextmanager
async def leased_environment(
    isolated: IsolatedSpec, environments: EnvironmentDirectory, command: ConfinedCommand
) -> AsyncGenerator[Environment, None]:
    """An environment with the requirements, not pruned before the end.

    InvalidError names the requirement that cannot be had, or the host that uv may not reach;
    TransientError while no package index can be reached. The process that has the lease is our own
    code, which confines uv.
    """
    path = os.environ.get("PATH", os.defpath)  # where other Pythons are
    uv_settings = {**index_variables(os.environ), "PATH": path}
    unconfined = Sandbox(level=Level.NONE)
    process = await ConfinedProcess.start(
        replace(command, arguments=_LEASE, sandbox=unconfined, listens=False, variables=uv_settings)
    )
    try:
        wanted = {
            "environments": str(environments.path),
            "requirements": isolated.requirements,
            "python": isolated.python,
            "index_addresses": list(map(asdict, environments.index_access.addresses)),
        }
        answer = await process.ask(wanted, _SECONDS)
        yield Environment(Path(answer["python"]), tuple(map(Path, answer["paths"])))
    finally:
        await process.close()
