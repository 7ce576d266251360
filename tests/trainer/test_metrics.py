"""Metrics of the trainer."""

from tests.trainer.harness import TrainerHarness, Upstream


async def test_metrics_count_runs_and_what_was_reused(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    await trainer.add(upstream)
    await trainer.push(upstream, {"README.md": "hello"})

    told = (await trainer.http.get("/metrics")).text
    assert 'loopwright_runs_total{status="succeeded"} 1.0' in told
    assert 'loopwright_runs_total{status="unchanged"} 1.0' in told
    assert 'loopwright_step_cache_total{result="ran"} 2.0' in told
    assert 'loopwright_step_cache_total{result="reused"} 2.0' in told
