"""What the doctor says of services that are away."""

import json
from pathlib import Path

import pytest

from loopwright.data_dir import Engine, locked
from loopwright_common.sandbox import detect
from tests.app.conftest import Run


@pytest.mark.usefixtures("no_services")
def test_doctor_names_every_service_that_is_away(loopwright: Run) -> None:
    done = loopwright("doctor", "--json")
    items = json.loads(done.output)["items"]
    found = {item["name"]: item["state"] for item in items}
    assert done.exit_code == 1
    assert found["registry"] == found["monitor"] == "bad"
    assert found["git"] == "well"
    sandbox = next(item["detail"] for item in items if item["name"] == "sandbox")
    level = detect()
    assert f"level {level.level}" in sandbox
    assert level.why_not_more in sandbox


@pytest.mark.usefixtures("no_services")
def test_doctor_asks_the_engines_of_a_directory_that_they_made(
    loopwright: Run, tmp_path: Path
) -> None:
    def engines() -> dict[str, str]:
        done = loopwright("doctor", "--json", "--data-dir", str(tmp_path))
        found = {item["name"]: item for item in json.loads(done.output)["items"]}
        assert "Kafka 4" in found["engines"]["detail"]
        return {name: found[name]["state"] for name in ("kafka", "postgresql") if name in found}

    assert engines() == {}
    with locked(tmp_path, Engine.KAFKA):
        assert engines() == {"kafka": "bad", "postgresql": "bad"}
