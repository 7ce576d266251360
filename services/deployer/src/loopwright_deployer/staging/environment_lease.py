"""The Python that a package of other requirements runs on, built and kept while it is needed."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loopwright_common.sandbox import Level, Sandbox
from loopwright_common.serving.spec import IsolatedSpec
from loopwright_deployer.staging.confined_command import ConfinedCommand
from loopwright_deployer.staging.confined_process import ConfinedProcess

_LEASE = (sys.executable, "-m", "loopwright_scorer.isolated.environment_lease")
_SECONDS = 600.0
_INDEX_VARIABLES = ("UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Environment:
    """`paths` are what the Python is made of, beside what every sandboxed command sees."""

    python: Path
    paths: tuple[Path, ...]

    @property
    def is_own(self) -> bool:
        """Whether it is another than ours."""
        return bool(self.paths)


@asynccontextmanager
async def leased_environment(
    isolated: IsolatedSpec, environments: Path, command: ConfinedCommand
) -> AsyncGenerator[Environment, None]:
    """An environment with the requirements, not pruned before the end.

    InvalidError names the requirement that cannot be had; TransientError while no package index
    can be reached. The process that has the lease is our own code, which confines uv.
    """
    uv_settings = {name: value for name, value in os.environ.items() if _is_for_uv(name)}
    uv_settings["PATH"] = os.environ.get("PATH", os.defpath)  # where other Pythons are
    unconfined = Sandbox(level=Level.NONE)
    process = await ConfinedProcess.start(
        replace(command, arguments=_LEASE, sandbox=unconfined, listens=False, variables=uv_settings)
    )
    try:
        wanted = {
            "environments": str(environments),
            "requirements": isolated.requirements,
            "python": isolated.python,
        }
        answer = await process.ask(wanted, _SECONDS)
        yield Environment(Path(answer["python"]), tuple(map(Path, answer["paths"])))
    finally:
        await process.close()


def _is_for_uv(name: str) -> bool:
    return name.upper().startswith(_INDEX_VARIABLES)
