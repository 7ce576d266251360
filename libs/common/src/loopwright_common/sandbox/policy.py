"""What a sandboxed command may reach and use."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of each process, two of all together; None is no limit.

    `processes` counts threads too. Where there are no cgroups it comes, at level `process`, on top
    of what the user runs already, and does not bind root unless the command has a user of its own.
    """

    memory: int | None = None
    """Bytes of address space."""
    total_memory: int | None = None
    """Bytes that all take together, with the files that they keep in memory; needs cgroups."""
    cpu_seconds: int | None = None
    processes: int | None = 512
    file_bytes: int | None = None
    """Bytes of the largest file it may write."""
    open_files: int | None = 1024


@dataclass(frozen=True, slots=True)
class Gateway:
    """The one service that a command may call, over a connection that its starter serves.

    Before the command starts, a socket that listens on the command's own loopback is sent over the
    socket `fd` (see `receive_listener`), and the environment's `variable` is set to its URL of the
    `scheme`.
    """

    variable: str
    fd: int
    scheme: str = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What there is beside the system's libraries, this Python and its packages.

    `readable` and `writable` are absolute paths that exist, as are
    those `shared`: writable too, and others'. Without `network` nothing can be
    reached but the gateway and the sockets that the command inherits. With `own_user`, where we
    are root, the command runs as a user that nothing else has: what is writable becomes that
    user's, and everything else has to be open to everyone.
    """

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    shared: tuple[Path, ...] = ()
    network: bool = False
    gateway: Gateway | None = None
    limits: Limits = field(default_factory=Limits)
    own_user: bool = False
