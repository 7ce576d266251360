"""Settings of the registry."""

from typing import ClassVar

from loopwright_common.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    service: ClassVar[str] = "registry"

    port: int = 8001
