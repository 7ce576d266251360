"""Settings of the trainer."""

from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

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


def test_without_a_limit_of_memory_a_stage_has_as_much_as_the_machine(tmp_path: Path) -> None:
    limits = stage_confinement(settings_for(tmp_path, stage_memory=0)).policy(tmp_path, None).limits

    assert limits.memory == limits.total_memory == psutil.virtual_memory().total


@pytest.mark.parametrize("memory", [1, (256 << 20) - 1])
def test_memory_with_which_no_stage_starts_is_refused(tmp_path: Path, memory: int) -> None:
    with pytest.raises(ValidationError, match=r"stage_memory\n.*give 268435456 or more, or 0"):
        settings_for(tmp_path, stage_memory=memory)


def test_a_trainer_does_not_start_below_the_minimum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = detect(Level.PROCESS)
    monkeypatch.setattr("loopwright_common.sandbox.detection.detect", lambda: weak)
    with pytest.raises(SandboxTooWeakError, match="LOOPWRIGHT_SANDBOX_MINIMUM"):
        stage_confinement(settings_for(tmp_path, sandbox_minimum="namespace"))
