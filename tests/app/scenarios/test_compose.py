"""compose.yaml and the Dockerfile against what they start; no Docker engine is needed for that."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from loopwright_common.settings import ServiceSettings
from loopwright_scorer.settings import ScorerSettings

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
CONTAINERS: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVICES = ("registry", "trainer", "deployer", "scorer", "monitor")


def test_the_file_is_valid_compose() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*check, str(ROOT / "compose.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_listens_where_the_others_and_this_machine_look(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, monkeypatch)
    port = settings.port

    assert (settings.host, name in settings.hosts) == ("0.0.0.0", True)  # noqa: S104
    ports = [port, settings.port_of_grpc] if isinstance(settings, ScorerSettings) else [port]
    assert CONTAINERS[name]["ports"] == [f"127.0.0.1:{each}:{each}" for each in ports]
    assert CONTAINERS[name]["environment"][f"LOOPWRIGHT_URL_{name.upper()}"] == (
        f"http://{name}:{port}"
    )
    assert f"127.0.0.1:{port}/readyz" in CONTAINERS[name]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_is_a_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = set(type(settings_of(name, monkeypatch)).model_fields)
    given = [key for key in CONTAINERS[name]["environment"] if key.startswith("LOOPWRIGHT_")]
    for variable in given:
        setting = variable.removeprefix("LOOPWRIGHT_").removeprefix(f"{name.upper()}_").lower()
        assert setting in known, variable


def test_the_engines_are_addressed_where_they_listen() -> None:
    environment = CONTAINERS["registry"]["environment"]
    kafka = CONTAINERS["kafka"]["environment"]
    assert f"INTERNAL://{urlsplit(environment['LOOPWRIGHT_BUS_URL']).netloc}" in (
        kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    database = environment["LOOPWRIGHT_DATABASE_URL"]
    postgres = CONTAINERS["postgres"]["environment"]
    assert database == (
        f"postgresql://{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}"
        f"@postgres:5432/{postgres['POSTGRES_DB']}"
    )
    assert environment["AWS_ENDPOINT_URL"] == "http://s3:8333"
    assert (
        environment["AWS_SECRET_ACCESS_KEY"]
        == (CONTAINERS["s3"]["environment"]["AWS_SECRET_ACCESS_KEY"])
    )


def test_nothing_listens_beyond_this_machine() -> None:
    published = [port for each in CONTAINERS.values() for port in each.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_no_secret_has_a_default() -> None:
    secrets = {
        str(value)
        for container in CONTAINERS.values()
        for name, value in container.get("environment", {}).items()
        if re.search(r"PASSWORD|SECRET|_KEY$|DATABASE_URL", name)
    }
    assert len(secrets) == 4  # one of them within the URL of the database
    assert [each for each in secrets if not re.search(r"\$\{\w+:\?[^}]+\}", each)] == []


def test_images_are_pinned_and_their_data_kept() -> None:
    for name, container in CONTAINERS.items():
        if "build" not in container:
            assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", container["image"]), name
    mounted = [volume.split(":")[0] for c in CONTAINERS.values() for volume in c.get("volumes", ())]
    assert set(COMPOSE["volumes"]) <= set(mounted)


def test_every_service_waits_for_topics_bucket_and_migrations() -> None:
    jobs = {"topics", "bucket"} | {name for name in CONTAINERS if name.startswith("migrate-")}
    for name in SERVICES:
        needs = CONTAINERS[name]["depends_on"]
        assert set(needs) == jobs
        assert {need["condition"] for need in needs.values()} == {"service_completed_successfully"}
    assert find_spec(CONTAINERS["topics"]["entrypoint"][-1])


def test_the_image_uses_the_tool_versions_of_the_makefile() -> None:
    dockerfile, makefile = (ROOT / "Dockerfile").read_text(), (ROOT / "Makefile").read_text()
    assert re.findall(r"uv==([\d.]+)", dockerfile) == re.findall(r"UV_VERSION := (.*)", makefile)


def settings_of(name: str, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    """The service's settings, as its container gives them."""
    image = (ROOT / "Dockerfile").read_text()
    given = dict(re.findall(r"(LOOPWRIGHT_\w+)=(\S+)", image))
    for key, value in {**given, **CONTAINERS[name]["environment"]}.items():
        monkeypatch.setenv(key, re.sub(r"\$\{\w+:[-?](.*?)\}", r"\1", str(value)))
    module = import_module(f"loopwright_{name}.settings")
    settings: ServiceSettings = getattr(module, f"{name.title()}Settings")()
    return settings
