"""PostgreSQL's directory: made whole under another name, or not there."""

import tempfile
from pathlib import Path

from loopwright.engines import Postgres


def test_what_a_killed_initdb_left_is_not_taken_for_a_server() -> None:
    """It writes PG_VERSION before anything else, here in the directory that has no name yet."""
    with tempfile.TemporaryDirectory(prefix="loopwright-") as place:
        directory = Path(place) / "data"
        left = directory.with_name("data.partial")
        left.mkdir()
        (left / "PG_VERSION").write_text("18\n")
        (left / "left").touch()

        Postgres(directory).program()

        assert (directory / "global" / "pg_control").exists()
        assert not (directory / "left").exists()
        assert not left.exists()
