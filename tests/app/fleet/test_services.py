"""Ports and directories of services and their replicas."""

import os
import sys
from pathlib import Path

import pytest

from loopwright.engines.program import Program
from loopwright.fleet import Fleet, FleetLayout
from loopwright.fleet.services import programs
from loopwright_monitor.settings import MonitorSettings
from loopwright_scorer.settings import ScorerSettings


def program(place: Path, source: str) -> Program:
    return Program("sleeper", (sys.executable, "-c", source), place, place / "log", up=b"awake")


def test_replicas_have_ports_and_directories_of_their_own_and_share_the_rest(
    tmp_path: Path,
) -> None:
    site = FleetLayout(tmp_path, ports={"scorer": 8004, "monitor": 8005}, replicas={"scorer": 2})
    one, two, _ = programs(site, "kafka://here:1", "postgresql://there")

    assert (one.name, two.name) == ("scorer", "scorer-2")
    assert one.environment["LOOPWRIGHT_SCORER_PORT"] == "8004"
    assert two.environment["LOOPWRIGHT_SCORER_PORT"] == "8014"
    assert "LOOPWRIGHT_SCORER_GRPC_PORT" not in two.environment  # it follows from the other
    differ = {name for name in one.environment if one.environment[name] != two.environment[name]}
    assert differ == {f"LOOPWRIGHT_SCORER_{name}" for name in ("PORT", "CACHE_DIR", "REPLICA")}


def test_no_variable_leads_a_service_away_from_the_engines_that_were_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BUS_URL", "DATABASE_URL", "URL_SCORER"):
        monkeypatch.setenv(f"LOOPWRIGHT_{name}", "elsewhere")
        monkeypatch.setenv(f"LOOPWRIGHT_MONITOR_{name}", "elsewhere")
    layout = FleetLayout(tmp_path, ports={"scorer": 8004, "monitor": 8005})
    monitor = list(programs(layout, "kafka://here:1", "postgresql://there"))[1]
    monkeypatch.setattr(os, "environ", monitor.environment)

    settings = MonitorSettings()

    assert settings.bus_url == "kafka://here:1"
    assert settings.database_url == "postgresql://there"
    assert settings.url_scorer == "http://127.0.0.1:8004"


@pytest.mark.parametrize(("told", "second"), [("7000", "7010"), ("0", "0")])
def test_replicas_have_ports_of_their_own_for_grpc_where_one_is_told(
    tmp_path: Path, told: str, second: str
) -> None:
    settings = {"LOOPWRIGHT_SCORER_GRPC_PORT": told}
    site = FleetLayout(tmp_path, {"scorer": 8004}, {"scorer": 2}, settings)

    ports = [
        program.environment["LOOPWRIGHT_SCORER_GRPC_PORT"]
        for program in programs(site, "kafka://here:1", "postgresql://there")
    ]

    assert ports == [told, second]


@pytest.mark.parametrize(
    ("told", "addresses"),
    [
        ({}, {"scorer gRPC": "127.0.0.1:9004", "scorer-2 gRPC": "127.0.0.1:9014"}),
        (
            {"LOOPWRIGHT_SCORER_GRPC_PORT": "7000"},
            {"scorer gRPC": "127.0.0.1:7000", "scorer-2 gRPC": "127.0.0.1:7010"},
        ),
        (
            {"LOOPWRIGHT_GRPC_PORT": "7000"},
            {"scorer gRPC": "127.0.0.1:7000", "scorer-2 gRPC": "127.0.0.1:7010"},
        ),
        ({"LOOPWRIGHT_SCORER_GRPC_PORT": "0", "LOOPWRIGHT_GRPC_PORT": "7000"}, {}),
    ],
)
def test_the_addresses_for_grpc_are_those_that_the_scorers_find_in_their_settings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, str],
    addresses: dict[str, str],
) -> None:
    site = FleetLayout(tmp_path, {"scorer": 8004, "monitor": 8005}, {"scorer": 2}, told)
    scorers = list(programs(site, "kafka://here:1", "postgresql://there"))[:2]

    shown = Fleet(site, print).addresses
    found = {}
    for scorer in scorers:
        monkeypatch.setattr(os, "environ", scorer.environment)
        if port := ScorerSettings().port_of_grpc:
            found[f"{scorer.name} gRPC"] = f"127.0.0.1:{port}"

    assert found == addresses
    assert {name: shown[name] for name in shown if name.endswith("gRPC")} == addresses
