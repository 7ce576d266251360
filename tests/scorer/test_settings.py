from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import ValidationError

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.egress.addresses import AllowedAddress
from loopwright_common.errors import InvalidError
from loopwright_common.sandbox import Level, Sandbox, SandboxTooWeakError, detection
from loopwright_scorer.main import build
from loopwright_scorer.settings import ScorerSettings


async def start(directory: Path) -> None:
    """Start a scorer with what the environment says."""
    settings = ScorerSettings(cache_dir=directory / "cache", artifacts_url=f"file://{directory}")
    async with AsyncExitStack() as stack:
        bus = await SqliteBus.open(directory / "bus")
        stack.push_async_callback(bus.close)
        await build(settings, bus, stack)


async def test_less_than_the_least_sandbox_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "detect", lambda: Sandbox(level=Level.PROCESS))
    monkeypatch.setenv("LOOPWRIGHT_SCORER_SANDBOX_MINIMUM", "namespace")
    with pytest.raises(SandboxTooWeakError, match="at least namespace is required"):
        await start(tmp_path)


async def test_a_proxy_that_is_not_spoken_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "https://proxy.test")
    with pytest.raises(InvalidError, match="HTTPS_PROXY: give a proxy as http"):
        await start(tmp_path)


def test_what_uv_may_reach_is_of_the_scorer_or_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPWRIGHT_INDEX_ADDRESSES", "10.1.0.0/16:443")
    shared = ScorerSettings().index_access.addresses
    monkeypatch.setenv("LOOPWRIGHT_SCORER_INDEX_ADDRESSES", "10.2.0.0/16")
    own = ScorerSettings().index_access.addresses

    assert shared == (AllowedAddress("10.1.0.0/16", 443),)
    assert own == (AllowedAddress("10.2.0.0/16", None),)


def test_a_port_that_leaves_none_for_grpc_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        ValidationError, match=r"66000, 1000 above port.*LOOPWRIGHT_SCORER_GRPC_PORT"
    ):
        ScorerSettings(port=65000)
    assert ScorerSettings(port=65000, grpc_port=0).port == 65000
