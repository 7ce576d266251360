"""A broker on this machine."""

import json
import socket
from pathlib import Path

import pytest

from loopwright.engines import Kafka
from loopwright_common.errors import ConflictError


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
