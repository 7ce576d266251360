"""What the deployer is told."""

from pathlib import Path
from typing import ClassVar

from loopwright_common.settings import ServiceSettings


class DeployerSettings(ServiceSettings):
    service: ClassVar[str] = "deployer"
    port: int = 8003
    work_dir: Path = Path(".loopwright/deployer")
    """Scratch space and the logs of packaging and staging processes."""
    spares: bool = True
    """Keep a pre-imported packaging process and staging scorer waiting: seconds for memory."""
    stage_seconds: float = 300.0
    """How long packaging, and how long the staging checks, may take."""
