from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from loopwright_common.bus.sqlite.bus import SqliteBus
from loopwright_common.sandbox import Level, Sandbox, SandboxTooWeakError, detection
from loopwright_scorer.main import build
from loopwright_scorer.settings import ScorerSettings


async def test_less_than_the_least_sandbox_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "detect", lambda: Sandbox(level=Level.PROCESS))
    monkeypatch.setenv("LOOPWRIGHT_SCORER_SANDBOX_MINIMUM", "namespace")
    settings = ScorerSettings(cache_dir=tmp_path / "cache", artifacts_url=f"file://{tmp_path}")
    async with AsyncExitStack() as stack:
        bus = await SqliteBus.open(tmp_path / "bus")
        stack.push_async_callback(bus.close)
        with pytest.raises(SandboxTooWeakError, match="at least namespace is required"):
            await build(settings, bus, stack)
