"""Settings from the environment: `LOOPWRIGHT_<SERVICE>_<NAME>`, else `LOOPWRIGHT_<NAME>`."""

from pathlib import Path
from typing import ClassVar

from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ServiceSettings(BaseSettings):
    """What every service is told; built once in `main` and passed down."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)
    service: ClassVar[str]

    database_url: str = "sqlite:///.loopwright"
    """`sqlite:///DIRECTORY` (a file per service) or `postgresql://...` (a schema per service)."""
    bus_url: str = "sqlite:///.loopwright"
    """The event bus: `sqlite:///DIRECTORY` or `kafka://HOST:PORT[,HOST:PORT]`."""
    artifacts_url: str = ""
    """`file:///DIRECTORY` or `s3://BUCKET/PREFIX`; by default `artifacts` beside the databases."""
    topic_prefix: str = ""
    """What the names of all topics on Kafka begin with."""
    environment: str = "production"
    """The environment whose deployments and routes the service works for."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int
    """Port to listen on."""
    allowed_hosts: str = ""
    """Names beside loopback, with commas between, by which requests may address the service."""
    otlp_endpoint: str = ""
    """Collector of traces (OTLP over HTTP), such as http://127.0.0.1:4318; none unless given."""
    log_level: str = "info"
    """Lowest level of log lines: debug, info, warning or error."""
    url_registry: str = "http://127.0.0.1:8001"
    """Where the registry answers."""
    url_trainer: str = "http://127.0.0.1:8002"
    """Where the trainer answers."""
    url_deployer: str = "http://127.0.0.1:8003"
    """Where the deployer answers."""
    url_scorer: str = "http://127.0.0.1:8004"
    """Where the scorer answers."""
    url_monitor: str = "http://127.0.0.1:8005"
    """Where the monitor answers."""

    @property
    def data_directory(self) -> Path:
        """Where the SQLite databases are, and by default what else is kept in files."""
        scheme, _, directory = self.database_url.partition(":///")
        return Path(directory if scheme == "sqlite" and directory else ".loopwright").absolute()

    @property
    def artifact_store(self) -> str:
        """The URL of the artifact store."""
        return self.artifacts_url or f"file://{self.data_directory / 'artifacts'}"

    @property
    def hosts(self) -> frozenset[str]:
        """Hosts for which requests are answered."""
        return LOOPBACK | {name.strip() for name in self.allowed_hosts.split(",") if name.strip()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_unused: PydanticBaseSettingsSource,
        **_also_unused: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        own = EnvSettingsSource(settings_cls, env_prefix=f"LOOPWRIGHT_{cls.service.upper()}_")
        shared = EnvSettingsSource(settings_cls, env_prefix="LOOPWRIGHT_")
        return (init_settings, own, shared)
