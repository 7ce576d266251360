"""Settings of the registry."""

from typing import ClassVar

from pydantic import Field

from loopwright_common.settings import Port, ServiceSettings


class RegistrySettings(ServiceSettings):
    service: ClassVar[str] = "registry"

    port: Port = 8001
    largest_upload: int = Field(default=16 << 30, ge=1)
    """Bytes of one artifact file; a larger one is refused, and nothing of it is kept."""
    streams: int = Field(default=100, ge=1)
    """Followers of the event stream at once, per replica."""
    streams_per_client: int = Field(default=20, ge=1)
    """Of these, followers at one client address."""
    stream_heartbeat_seconds: float = Field(default=15.0, gt=0)
    """How often a quiet event stream sends a comment, lest anything on the way closes it."""
    stream_poll_seconds: float = Field(default=0.5, gt=0)
    """How often other replicas' events are looked for while anybody follows the stream."""
