from pathlib import Path

import pytest

from loopwright_common.errors import ConflictError
from loopwright_deployer.packaging.isolated import GRANT
from loopwright_deployer.settings import DeployerSettings


def test_the_grant_is_of_models_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GRANT, "bank, other")
    granted = DeployerSettings()
    monkeypatch.delenv(GRANT)

    assert [name for name in ("bank", "other", "ban", "") if granted.may_unpickle(name)] == [
        "bank",
        "other",
    ]
    assert not DeployerSettings().may_unpickle("")


def test_a_directory_is_refused_to_a_second_deployer_with_the_remedy(tmp_path: Path) -> None:
    with (
        DeployerSettings(work_dir=tmp_path).own_directory(),
        pytest.raises(ConflictError, match="LOOPWRIGHT_DEPLOYER_WORK_DIR"),
        DeployerSettings(work_dir=tmp_path).own_directory(),
    ):
        pass
    with DeployerSettings(work_dir=tmp_path).own_directory():
        pass
