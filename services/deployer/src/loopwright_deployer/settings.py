"""What the deployer is told."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from loopwright_common.leases import LEASE
from loopwright_common.settings import ServiceSettings


class DeployerSettings(ServiceSettings):
    service: ClassVar[str] = "deployer"
    port: int = 8003
    work_dir: Path = Path(".loopwright/deployer")
    """Scratch space and the logs of packaging and staging processes; each replica has its own."""
    lease_seconds: float = Field(default=LEASE.total_seconds(), gt=0)
    """How long after a replica was last heard of another goes on with its deployments."""
    spares: bool = True
    """Keep a pre-imported packaging process and staging scorer waiting: seconds for memory."""
    stage_seconds: float = 300.0
    """How long packaging, and how long the staging checks, may take."""
