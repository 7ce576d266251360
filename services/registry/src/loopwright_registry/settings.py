"""Settings of the registry."""

from typing import ClassVar

from pydantic import Field

from loopwright_common.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    service: ClassVar[str] = "registry"

    port: int = 8001
    largest_upload: int = Field(default=16 << 30, ge=1)
    """Bytes of one artifact file; a larger one is refused, and nothing of it is kept."""
