from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.egress.addresses import AllowedAddress
from loopwright_common.errors import ConflictError, InvalidError
from loopwright_common.sandbox import Level, Sandbox, SandboxTooWeakError, detect, detection
from loopwright_deployer.main import build, staging_options
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


async def test_less_than_the_least_sandbox_is_refused_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "detect", lambda: Sandbox(level=Level.PROCESS))
    monkeypatch.setenv("LOOPWRIGHT_DEPLOYER_SANDBOX_MINIMUM", "namespace")
    settings = DeployerSettings(
        work_dir=tmp_path / "work",
        database_url=f"sqlite:///{tmp_path}",
        artifacts_url=f"file://{tmp_path}",
    )
    async with AsyncExitStack() as stack:
        bus = await SqliteBus.open(tmp_path / "bus")
        stack.push_async_callback(bus.close)
        with pytest.raises(SandboxTooWeakError, match="at least namespace is required"):
            await build(settings, bus, stack)


def test_memory_and_sandbox_reach_packaging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPWRIGHT_DEPLOYER_STAGE_MEMORY", str(3 << 30))

    options = staging_options(DeployerSettings())

    assert (options.memory, options.sandbox) == (3 << 30, detect())


def test_what_uv_may_reach_comes_to_packaging_and_is_refused_where_it_is_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOOPWRIGHT_INDEX_ADDRESSES", "10.1.0.0/16:443")

    assert staging_options(DeployerSettings()).index_access.addresses == (
        AllowedAddress("10.1.0.0/16", 443),
    )
    monkeypatch.setenv("HTTPS_PROXY", "https://proxy.test")
    with pytest.raises(InvalidError, match="HTTPS_PROXY"):
        staging_options(DeployerSettings())
    monkeypatch.setenv("LOOPWRIGHT_DEPLOYER_INDEX_ADDRESSES", "somewhere")
    with pytest.raises(InvalidError, match="somewhere"):
        staging_options(DeployerSettings())
