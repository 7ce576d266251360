"""Settings of the trainer."""

from pathlib import Path

import pytest

from loopwright_common.errors import ConflictError, InvalidError
from loopwright_common.sandbox import Level, SandboxTooWeakError, detect
from loopwright_trainer.main import stage_confinement
from tests.trainer.harness import settings_for


def test_two_trainers_cannot_share_a_directory(tmp_path: Path) -> None:
    with (
        settings_for(tmp_path).own_directory(),
        pytest.raises(ConflictError, match="LOOPWRIGHT_TRAINER_DIRECTORY"),
        settings_for(tmp_path).own_directory(),
    ):
        pass


@pytest.mark.parametrize("setting", ["stage_readable", "stage_writable"])
def test_paths_for_stages_have_to_exist(setting: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=f"LOOPWRIGHT_TRAINER_{setting.upper()}: .*missing"):
        stage_confinement(settings_for(tmp_path, **{setting: f"{tmp_path}:{tmp_path}/missing"}))


def test_the_limits_of_stages_are_those_of_the_settings(tmp_path: Path) -> None:
    given = {"stage_memory": 1 << 30, "stage_processes": 50, "stage_disk": 1 << 22}
    found = stage_confinement(settings_for(tmp_path, **given, stage_readable=str(tmp_path)))
    policy = found.policy(tmp_path / "work", None)

    assert (policy.limits.memory, policy.limits.processes) == (1 << 30, 50)
    assert (policy.limits.file_bytes, found.disk) == (1 << 22, 1 << 22)
    assert tmp_path.resolve() in policy.readable
    assert policy.writable == (tmp_path / "work",)


def test_a_trainer_does_not_start_below_the_minimum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = detect(Level.PROCESS)
    monkeypatch.setattr("loopwright_common.sandbox.detection.detect", lambda: weak)
    with pytest.raises(SandboxTooWeakError, match="LOOPWRIGHT_SANDBOX_MINIMUM"):
        stage_confinement(settings_for(tmp_path, sandbox_minimum="namespace"))
