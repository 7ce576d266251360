"""The command line as a person runs it, with no service in reach."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from loopwright.cli import app
from loopwright.client import PORTS

Run = Callable[..., Result]


@pytest.fixture
def no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every service is where nothing listens: port 1 is nobody's."""
    for name in PORTS:
        monkeypatch.setenv(f"LOOPWRIGHT_URL_{name.upper()}", "http://127.0.0.1:1")


@pytest.fixture
def loopwright() -> Run:
    runner = CliRunner()

    def run(*arguments: str) -> Result:
        return runner.invoke(app, arguments)

    return run
