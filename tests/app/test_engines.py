"""The engines from packages, as far as they can be tried without starting one."""

import json
import socket
from pathlib import Path

import pytest

from loopwright.engines import Kafka
from loopwright.engines.program import require
from loopwright_common.errors import ConflictError, UnavailableError


def test_what_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(UnavailableError, match=r"no_engine .* pip install 'loopwright\[engines\]'"):
        require("no_engine")


def test_a_broker_keeps_its_ports_and_says_when_one_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "ports.json").write_text(json.dumps({"broker": port, "controller": 1}))
        broker = Kafka(tmp_path)
        assert broker.url == f"kafka://127.0.0.1:{port}"
        with pytest.raises(ConflictError, match=rf"port {port} of the Kafka broker .*ports.json"):
            broker.check_ports()
