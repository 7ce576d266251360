"""PostgreSQL: how services connect, and which of its faults pass by themselves.

The session keeps locks, so connect directly or through a pooler in session mode.
"""

import socket
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from loopwright_common.errors import InvalidError

_CONNECTIONS = 10
_CONNECT_SECONDS = 10.0
_SESSION = {
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    # The server lets go of the locks of a client whose machine is gone.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# And the client learns that the server's machine is gone.
_SOCKET = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 25_000,
}
_PASSING = (
    "08",  # connection failed
    "25006",  # read-only, as a former primary is
    "25P03",  # idle in a transaction for too long
    "40",  # rolled back: serialization, deadlock
    "53",  # out of disk, memory or connections
    "55P03",  # a lock was not to be had in time
    "57",  # cancelled or shut down by the operator
    "58",  # the server's own files
)


def create_engine(url: URL, schema: str) -> AsyncEngine:
    """Up to `connections` (a parameter of the URL, 10 unless told) to one schema.

    InvalidError where `connections` is no number from 1.
    """
    size = _size(url)
    address = url.set(drivername="postgresql").difference_update_query(["connections"])
    session = {name: value for name, value in _SESSION.items() if name not in url.query}

    async def connect() -> Any:
        import asyncpg

        connection = await asyncpg.connect(
            address.render_as_string(hide_password=False),
            timeout=_CONNECT_SECONDS,
            server_settings={
                **session,
                "search_path": schema,
                "application_name": f"loopwright/{schema}",
            },
        )
        _notice_a_dead_server(connection)
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=size,
        max_overflow=0,
        pool_timeout=_CONNECT_SECONDS,
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def replace_a_closed_one(connection: Any, _record: Any, _proxy: Any) -> None:
        # The driver knows at once, so no statement need be spent on asking.
        if connection.driver_connection.is_closed():
            raise DisconnectionError

    return engine


def is_transient(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed later."""
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    return state is not None and state.startswith(_PASSING)


def address_of(url: URL) -> str:
    """Where it is, without the password."""
    host = url.host or url.query.get("host", "localhost")
    return f"{host}:{url.port or 5432}/{url.database or ''}"


def _size(url: URL) -> int:
    given = url.query.get("connections", str(_CONNECTIONS))
    if isinstance(given, str) and given.isdecimal() and int(given) >= 2:
        return int(given)
    raise InvalidError(f"connections={given}: give a number from 2 on", field="database_url")


def _notice_a_dead_server(connection: Any) -> None:
    """Within half a minute, also when a packet is under way or an answer is awaited."""
    under = connection._transport.get_extra_info("socket")
    if under.family == socket.AF_UNIX:
        return
    under.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _SOCKET.items():
        under.setsockopt(socket.IPPROTO_TCP, option, value)
