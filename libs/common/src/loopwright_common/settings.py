"""Settings from the environment: `LOOPWRIGHT_<SERVICE>_<NAME>`, else `LOOPWRIGHT_<NAME>`."""

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from loopwright_common.errors import InvalidError
from loopwright_common.names import check_name

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LAST_PORT = 65535
Port = Annotated[int, Field(ge=0, le=LAST_PORT)]
LARGEST_COUNT = 1 << 60
"""Bytes, rows or calls; the kernel's limits take no number that is much larger."""
LONGEST = timedelta(days=36500)
"""Moments that are further away are none for `datetime`, nor seconds without end for a timer."""
LARGEST_FIGURE = LONGEST.total_seconds()
"""Seconds, or requests a second."""


def comma_separated(text: str) -> list[str]:
    """The entries of a setting that lists some, without the spaces around them."""
    return [entry for part in text.split(",") if (entry := part.strip())]


class ServiceSettings(BaseSettings):
    """What every service is told; built once in `main` and passed down."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, hide_input_in_errors=True
    )
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
    port: Port
    """Port to listen on."""
    allowed_hosts: str = ""
    """Names beside loopback, with commas between, by which requests may address the service."""
    allow_unauthenticated: bool = False
    """Whether anybody who reaches `host` may ask anything, which is so beyond loopback as yet."""
    largest_body: int = Field(default=1 << 20, ge=1024)
    """Bytes of a request's body, on routes that have no limit of their own; more gives 413."""
    request_buffer: int = Field(default=128 << 20, ge=1024)
    """Bytes that all requests under way may hold, as they came and decoded; past it 503."""
    body_timeout: float = Field(default=30, gt=0)
    """Seconds that a client may take to send a request, and to take some of its answer."""
    max_connections: int = Field(default=800, ge=1)
    """Open at the same time; more are answered with 503. Keep it below the limit of open files."""
    request_rate: float = Field(default=1000.0, gt=0)
    """Requests a second of one client address, those of two seconds at once; more gives 429."""
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

    @field_validator("environment")
    @classmethod
    def _environment_is_shown(cls, environment: str) -> str:
        try:
            check_name("environment", environment)
        except InvalidError as error:
            raise ValueError(str(error)) from None
        return environment

    @field_validator("*")
    @classmethod
    def _is_a_figure(cls, value: object) -> object:
        """What no limit could be set to, and no clock counts to, is refused when it is given."""
        largest: dict[type, int | float | timedelta] = {
            int: LARGEST_COUNT, float: LARGEST_FIGURE, timedelta: LONGEST
        }  # fmt: skip
        most = largest.get(type(value))
        if most is not None and not value <= most:  # type: ignore[operator]
            raise ValueError(f"may be {most} at most")
        return value

    @model_validator(mode="after")
    def _is_reached_by_whom_it_trusts(self) -> Self:
        if self.allow_unauthenticated or is_loopback(self.host):
            return self
        raise ValueError(
            f"host {self.host}: whoever reaches it could ask anything of this service, as it asks"
            " nobody who he is. Listen on 127.0.0.1; or, where a network of its own or a proxy"
            " keeps others out, set LOOPWRIGHT_ALLOW_UNAUTHENTICATED=true"
        )

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
        return LOOPBACK | {name.lower() for name in comma_separated(self.allowed_hosts)}

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


def is_loopback(host: str) -> bool:
    """Whether nobody beyond this machine reaches a service that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
